"""The server."""

import json

import numpy as np
import xgboost as xgb
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedXgbBagging

from trees_bagging.task import params_of

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    result = FedXgbBagging(
        fraction_train=config["fraction-train"], fraction_evaluate=config["fraction-evaluate"]
    ).start(
        grid=grid,
        initial_arrays=ArrayRecord([np.frombuffer(b"", dtype=np.uint8)]),
        num_rounds=config["num-server-rounds"],
    )
    booster = xgb.Booster(params=params_of(config))
    booster.load_model(bytearray(result.arrays["0"].numpy().tobytes()))
    booster.save_model("final_model.json")
    aucs = [metrics["auc"] for metrics in result.evaluate_metrics_clientapp.values()]
    with open("results.json", "w") as file:
        json.dump({"trees": [booster.num_boosted_rounds()], "auc": aucs}, file)
