"""The trees: as bytes in one array, whose size changes in each round."""

from collections.abc import Mapping

import numpy as np
import xgboost as xgb
from flwr.app import ArrayRecord

from xgboost_bagging.data import Rows


def no_trees() -> ArrayRecord:
    """Return the model before round 1: no bytes."""
    return ArrayRecord([np.zeros(0, np.uint8)])


def parameters(run_config: Mapping[str, object], seed: int) -> dict[str, object]:
    """Return XGBoost's parameters. One thread: the order of a sum is fixed, and so are the bytes.

    FedXgbBagging collects `num_parallel_tree` trees of each client and round, and no further ones.
    """
    return {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "max_depth": run_config["max-depth"],
        "eta": run_config["learning-rate"],
        "subsample": run_config["subsample"],
        "num_parallel_tree": run_config["parallel-trees"],
        "seed": seed,
        "nthread": 1,
    }


def grown(arrays: ArrayRecord, rows: Rows, chosen: Mapping[str, object]) -> ArrayRecord:
    """Grow trees on the rows, after those of the global model; return the new ones alone."""
    model = booster(arrays)
    before = model.num_boosted_rounds() if model else 0
    new = xgb.train(dict(chosen), matrix(rows), num_boost_round=1, xgb_model=model)[before:]
    return ArrayRecord([np.frombuffer(new.save_raw("json"), np.uint8)])


def booster(arrays: ArrayRecord) -> xgb.Booster | None:
    """Return the model of the bytes in a message; None before round 1."""
    trees = arrays["0"].numpy().tobytes()
    return xgb.Booster({"nthread": 1}, model_file=bytearray(trees)) if trees else None


def matrix(rows: Rows) -> xgb.DMatrix:
    """Return rows as XGBoost reads them."""
    return xgb.DMatrix(rows[0], label=rows[1], nthread=1)


def score(arrays: ArrayRecord, rows: Rows) -> dict[str, float]:
    """Return loss and, where both labels are there, area under the ROC curve; nothing without trees."""
    model = booster(arrays)
    if model is None:
        return {}
    names = ["logloss", "auc"] if 0 < rows[1].sum() < len(rows[1]) else ["logloss"]
    model.set_param([("eval_metric", name) for name in names])
    text = model.eval_set([(matrix(rows), "rows")])
    found = dict(part.removeprefix("rows-").split(":") for part in text.split()[1:])
    return {{"logloss": "loss", "auc": "roc_auc"}[name]: float(value) for name, value in found.items()}
