"""FedAvg with server momentum; it remembers its best accuracy and how the learning rate falls."""

from collections.abc import Iterable

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg


class FedMomentum(FedAvg):
    def __init__(self, momentum: float, **kwargs) -> None:
        super().__init__(**kwargs)
        self.momentum = momentum
        self.velocity: dict[str, np.ndarray] = {}
        self.current: ArrayRecord | None = None
        self.best_accuracy, self.best_round = 0.0, None
        self.rounds_seen = 0
        self.history: list[dict[str, float]] = []
        self.seen_clients: set[int] = set()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        self.current = arrays
        config["lr"] = config["lr"] * 0.9
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]):
        replies = list(replies)
        mean, metrics = super().aggregate_train(server_round, replies)
        if mean is None:
            return mean, metrics
        self.rounds_seen += 1
        self.seen_clients.add(len(replies))
        moved = {}
        for name, array in mean.items():
            old = self.current[name].numpy()
            step = array.numpy() - old
            self.velocity[name] = self.momentum * self.velocity.get(name, np.zeros_like(step)) + step
            moved[name] = Array(old + self.velocity[name] / (1 + 0.01 * self.rounds_seen))
        return ArrayRecord(moved), metrics

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        metrics = super().aggregate_evaluate(server_round, replies)
        self.history.append({"round": server_round, "accuracy": metrics["eval_acc"]})
        if metrics["eval_acc"] > self.best_accuracy:
            self.best_accuracy, self.best_round = metrics["eval_acc"], server_round
        return metrics
