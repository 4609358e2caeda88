"""The classifier: scikit-learn's network, whose parameters travel as arrays; nothing is pickled."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from flwr.app import ArrayRecord
from flwr.common import Array
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from oneflower.errors import AppError
from oneflower.sdk.client import derived_seed
from oneflower.sdk.options import option
from tabular_classification.data import Columns, Rows

CLIP = 10.0
"""In standard deviations: one absurd value in a row does not dominate the loss."""
SMALLEST = 1e-7
"""A probability of 0 would make the loss infinite."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Sizes of the layers, on which server and clients must agree; no hidden one is logistic regression."""

    num_features: int
    num_classes: int
    hidden: int

    @classmethod
    def from_run_config(cls, run_config: Mapping[str, object]) -> "Layers":
        """Read `num-features`, `num-classes` and `hidden-size`."""
        columns = Columns.from_run_config(run_config)
        return cls(
            num_features=columns.num_features,
            num_classes=columns.num_classes,
            hidden=option(run_config, "hidden-size", 0, at_least=0),
        )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The arrays of the model. Two classes need one output."""
        outputs = 1 if self.num_classes == 2 else self.num_classes
        sizes = [self.num_features, *([self.hidden] if self.hidden else []), outputs]
        pairs = list(pairwise(sizes))
        return {
            "mean": (self.num_features,),
            "scale": (self.num_features,),
            **{f"coef_{n}": pair for n, pair in enumerate(pairs)},
            **{f"intercept_{n}": (after,) for n, (_, after) in enumerate(pairs)},
        }


def initial_arrays(layers: Layers, seed: int) -> ArrayRecord:
    """Draw the weights from the run's seed: Glorot and Bengio (2010), equation 16."""
    rng = np.random.default_rng(derived_seed(seed, "initial"))
    arrays = {name: np.zeros(shape, np.float32) for name, shape in layers.shapes.items()}
    arrays["scale"] += 1
    for name, array in arrays.items():
        if name.startswith("coef_"):
            bound = np.sqrt(6 / sum(array.shape))
            array[:] = rng.uniform(-bound, bound, array.shape)
    return _record(arrays)


class Classifier:
    """Standardise rows and classify them; the arrays are those of the message."""

    def __init__(self, layers: Layers, arrays: ArrayRecord, lr: float = 0.0) -> None:
        self._given = _matching(layers, arrays)
        self._net = MLPClassifier(
            hidden_layer_sizes=(layers.hidden,) if layers.hidden else (),
            solver="sgd",
            learning_rate_init=lr or 1.0,
            momentum=0,
            nesterovs_momentum=False,
            alpha=0,
            shuffle=False,
            random_state=0,
        )
        # The first call makes the parameters; ours take their place.
        classes = np.arange(layers.num_classes)
        self._net.batch_size = len(classes)
        blank = np.zeros((len(classes), layers.num_features), np.float32)
        with threadpool_limits(1):
            self._net.partial_fit(blank, classes, classes=classes)
        self._net.coefs_, self._net.intercepts_ = (
            [self._given[name].copy() for name in self._given if name.startswith(kind)]
            for kind in ("coef_", "intercept_")
        )

    @property
    def arrays(self) -> ArrayRecord:
        """The parameters as they are now, with the mean and the scale that were given."""
        return _record(self._given | self._trained())

    def fit(
        self, rows: Rows, batches: Iterable[NDArray[np.int64]], *, lr: float, proximal_mu: float
    ) -> float:
        """Train one step for each batch; return the mean loss of the data, without the proximal term.

        One thread, so that the same batches give the same bytes.

        Raises
        ------
        AppError
            The loss is nan or infinite.
        """
        values = self._standard(rows.values)
        losses: list[float] = []
        with threadpool_limits(1), np.errstate(over="ignore", invalid="ignore"):
            for some in batches:
                pull = self._pull(lr * proximal_mu)
                self._net.batch_size = len(some)
                losses.append(self._step(values[some], rows.labels[some], len(losses) + 1))
                for name, step in pull.items():
                    self._trained()[name][...] -= step
        return float(np.mean(losses))

    def score(self, rows: Rows) -> tuple[float, float, Floats]:
        """Return loss, accuracy, and the probability (N, classes) of each class for every row."""
        with threadpool_limits(1):
            found: Floats = self._net.predict_proba(self._standard(rows.values))
        right = found[np.arange(len(rows)), rows.labels].clip(SMALLEST, 1)
        return -float(np.log(right).mean()), float((found.argmax(1) == rows.labels).mean()), found

    def _step(self, values: Floats, labels: NDArray[np.int64], number: int) -> float:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                self._net.partial_fit(values, labels)
        except ValueError as error:
            if "non-finite" not in str(error):
                raise
            self._net.loss_ = np.nan
        loss = float(self._net.loss_)
        if not np.isfinite(loss):
            raise AppError(
                f"the loss became {loss} at local batch {number}; expected a finite number. Lower the "
                "learning rate (learning-rate, or FL_CLIENT_LR with FedAdagrad, FedAdam or FedYogi) or clean "
                "the data"
            )
        return loss

    def _pull(self, step: float) -> dict[str, Floats]:
        """Return the step of FedProx's term, mu (w - w_global), at the weights before the step of the data.

        Li et al., "Federated Optimization in Heterogeneous Networks" (2020), equation 2.
        """
        if not step:
            return {}
        return {name: np.float32(step) * (w - self._given[name]) for name, w in self._trained().items()}

    def _trained(self) -> dict[str, Floats]:
        named = {f"coef_{n}": array for n, array in enumerate(self._net.coefs_)}
        return named | {f"intercept_{n}": array for n, array in enumerate(self._net.intercepts_)}

    def _standard(self, values: Floats) -> Floats:
        standard: Floats = (values - self._given["mean"]) / self._given["scale"]
        return standard.clip(-CLIP, CLIP)


def _matching(layers: Layers, arrays: ArrayRecord) -> dict[str, Floats]:
    given = {name: array.numpy() for name, array in arrays.items()}
    found = {name: array.shape for name, array in given.items()}
    if found != layers.shapes:
        raise AppError(
            f"the arrays that came are not this model's: they have the shapes {found}, expected "
            f"{layers.shapes}. Server and clients must run the same version of the app with the same model "
            f"keys"
        )
    return {name: np.array(given[name], np.float32) for name in layers.shapes}


def _record(arrays: Mapping[str, Floats]) -> ArrayRecord:
    return ArrayRecord({name: Array(array) for name, array in arrays.items()})
