"""A strategy with a loop of its own."""

import json

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAdagrad, Result


class SavingFedAdagrad(FedAdagrad):
    """Saves the results after every round, and the model whenever it is the best so far."""

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn=None,
    ) -> Result:
        result, arrays, best, rows = Result(), initial_arrays, 0.0, []
        train_config = ConfigRecord() if train_config is None else train_config
        evaluate_config = ConfigRecord() if evaluate_config is None else evaluate_config
        for number in range(1, num_rounds + 1):
            messages = self.configure_train(number, arrays, train_config, grid)
            found, metrics = self.aggregate_train(number, grid.send_and_receive(messages, timeout=timeout))
            if found is not None:
                result.arrays = arrays = found
            result.train_metrics_clientapp[number] = metrics
            messages = self.configure_evaluate(number, arrays, evaluate_config, grid)
            metrics = self.aggregate_evaluate(number, grid.send_and_receive(messages, timeout=timeout))
            result.evaluate_metrics_clientapp[number] = metrics
            central = evaluate_fn(number, arrays)
            result.evaluate_metrics_serverapp[number] = central
            rows.append({"round": number, **metrics, **central})
            with open("rounds.json", "w") as file:
                json.dump(rows, file)
            if central["accuracy"] > best:
                best = central["accuracy"]
                np.savez("best_model.npz", *arrays.to_numpy_ndarrays())
            print(f"round {number} done: loss {central['loss']:.4f}", flush=True)
        return result
