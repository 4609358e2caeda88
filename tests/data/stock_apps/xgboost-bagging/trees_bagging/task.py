"""Data, and the parameters of the run-config."""

import numpy as np
import xgboost as xgb
from flwr.common.config import unflatten_dict
from sklearn.datasets import load_breast_cancer


def load_data(partition_id, num_partitions):
    x, y = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(2).permutation(len(x))[partition_id::num_partitions]
    cut = int(0.8 * len(order))
    train, valid = order[:cut], order[cut:]
    return xgb.DMatrix(x[train], label=y[train]), xgb.DMatrix(x[valid], label=y[valid])


def params_of(run_config):
    params = unflatten_dict(run_config)["params"]
    return {name.replace("-", "_"): value for name, value in params.items()}
