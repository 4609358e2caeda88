"""The model in XGBoost: trees, which travel as the bytes of one array and grow in number."""

import numpy as np
import xgboost as xgb
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import FedXgbBagging
from my_stock_app.data import Rows


def new_strategy() -> FedXgbBagging:
    """Return how the clients' trees become the next global model: all of them together."""
    return FedXgbBagging()


def initial_arrays() -> ArrayRecord:
    """Return the model before round 1: no bytes."""
    return ArrayRecord([np.zeros(0, np.uint8)])


def fit(arrays: ArrayRecord, rows: Rows, *, lr: float, epochs: int) -> ArrayRecord:
    """Grow trees after those of the global model; return the new ones alone.

    FedXgbBagging collects `num_parallel_tree` trees of each client and round, and no further ones. One
    thread: the order of a sum is fixed, and so are the bytes.
    """
    chosen = {"objective": "binary:logistic", "max_depth": 3, "eta": lr, "nthread": 1}
    chosen |= {"num_parallel_tree": epochs, "subsample": 0.8, "seed": np.random.randint(2**31)}
    before = booster(arrays)
    count = before.num_boosted_rounds() if before else 0
    grown = xgb.train(chosen, matrix(rows), num_boost_round=1, xgb_model=before)
    return ArrayRecord([np.frombuffer(grown[count:].save_raw("json"), np.uint8)])


def score(arrays: ArrayRecord, rows: Rows) -> tuple[float, float]:
    """Return (loss, accuracy); without trees, those of a coin."""
    model = booster(arrays)
    found = model.predict(matrix(rows)) if model else np.full(len(rows[1]), 0.5)
    right = np.where(rows[1] == 1, found, 1 - found).clip(1e-7, 1)
    return -float(np.log(right).mean()), float(((found > 0.5) == rows[1]).mean())


def booster(arrays: ArrayRecord) -> xgb.Booster | None:
    """Return the model of the bytes in a message; None before round 1."""
    trees = arrays["0"].numpy().tobytes()
    return xgb.Booster({"nthread": 1}, model_file=bytearray(trees)) if trees else None


def matrix(rows: Rows) -> xgb.DMatrix:
    """Return rows as XGBoost reads them."""
    return xgb.DMatrix(rows[0], label=rows[1], nthread=1)
