"""The model in scikit-learn: logistic regression, whose coefficients are the arrays."""

import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import FedAvg
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss

from my_stock_app.data import CLASSES, FEATURES, Rows


def new_strategy() -> FedAvg:
    """Return how the clients' arrays become the next global ones."""
    return FedAvg()


def initial_arrays() -> ArrayRecord:
    """Return the model before round 1: a row of coefficients for each class, one row for two classes."""
    outputs = 1 if CLASSES == 2 else CLASSES
    return ArrayRecord([np.zeros((outputs, FEATURES), np.float32), np.zeros(outputs, np.float32)])


def fit(arrays: ArrayRecord, rows: Rows, *, lr: float, epochs: int) -> ArrayRecord:
    """Train on rows, starting from the arrays; return the new ones, with the dtypes of those that came."""
    coefficients, intercept = arrays.to_numpy_ndarrays()
    model = SGDClassifier(
        loss="log_loss", learning_rate="constant", eta0=lr, max_iter=epochs, tol=None, random_state=0
    )
    model.fit(*rows, coef_init=coefficients, intercept_init=intercept)
    return ArrayRecord([model.coef_.astype(coefficients.dtype), model.intercept_.astype(intercept.dtype)])


def score(arrays: ArrayRecord, rows: Rows) -> tuple[float, float]:
    """Return (loss, accuracy)."""
    model = SGDClassifier(loss="log_loss")
    model.coef_, model.intercept_ = arrays.to_numpy_ndarrays()
    model.classes_ = np.arange(CLASSES)
    found = model.predict_proba(rows[0])
    return float(log_loss(rows[1], found, labels=model.classes_)), float((found.argmax(1) == rows[1]).mean())
