"""What the server optimizers share: a step along the clients' mean change, with moments kept between rounds.

Reddi et al. 2021, "Adaptive Federated Optimization", algorithm 2: delta = mean - x is the pseudo-gradient,
and each optimizer says how its moments and the step follow from it.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from oneflower.aggregation.blocks import blocks
from oneflower.aggregation.errors import AggregationError
from oneflower.aggregation.mean import weighted_mean
from oneflower.aggregation.parameter import Parameter
from oneflower.aggregation.spec import Aggregate, Init, Round, State, require_finite
from oneflower.aggregation.updates import Arrays, Form, NDArray, Ordered, form_of

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Endings of BatchNorm's buffers. They are measured, not trained: they take the clients' mean as it is."""

SERVER_LR = Parameter(
    name="server_lr",
    default=0.1,
    minimum=0.0,
    exclusive=True,
    label="Server learning rate",
    help="Learning rate eta of the server's optimizer",
)
CLIENT_LR = Parameter(
    name="client_lr",
    default=0.1,
    minimum=0.0,
    exclusive=True,
    client_key="lr",
    label="Client learning rate",
    help="Learning rate eta_l of the clients, sent to them as lr",
)
BETA_1 = 0.9
"""Decay of the first moment."""
BETA_2 = 0.99
"""Decay of the second moment."""
TAU = 1e-3
"""Degree of adaptivity: added to the root of the second moment."""

Step = Callable[[NDArray, tuple[NDArray, ...]], None]
"""Turns a block of delta into the change of the model and updates the block's moments, both in place."""


def is_trained(name: str, array: NDArray) -> bool:
    """Return whether this is an array that optimizers step: floats, and not BatchNorm's statistics."""
    return array.dtype.kind == "f" and not name.endswith(STATISTICS)


def moment_forms(model: Arrays, moments: Iterable[str]) -> Form:
    """Return the form of every moment of every trained array, as "moment/array"."""
    return {
        f"{moment}/{name}": (array.shape, array.dtype)
        for moment in moments
        for name, array in model.items()
        if is_trained(name, array)
    }


def zero_moments(*moments: str) -> Init:
    """Return what makes the first state: moments of zeros."""
    return lambda model: {key: np.zeros(*form) for key, form in moment_forms(model, moments).items()}


def server_step(  # noqa: PLR0913, PLR0917 what a rule is given, and what makes it this optimizer
    updates: Ordered, model: Arrays, state: State, this_round: Round, moments: Sequence[str], step: Step
) -> Aggregate:
    """Step from the model along the clients' mean change, in the arrays' own dtype.

    The mean becomes the new model and the moments the next state, in place: no second copy of either is
    made. Nothing is changed before the forms were compared and every step was tried on a copy of a block:
    a moment that overflows would stay infinite for ever, and freeze its weight.

    Raises
    ------
    AggregationError
        The state is not that of this model, or a step would leave a moment that is not finite.
    """
    if form_of(state) != moment_forms(model, moments):
        raise AggregationError(
            "the model and the optimizer's moments differ in array names, shapes or dtypes; "
            "expected one form: resume only a checkpoint of the same model"
        )
    mean = weighted_mean(updates, this_round.allocate)
    require_finite(mean)
    trained = {
        name: [row.reshape(-1) for row in (x, mean[name], *(state[f"{each}/{name}"] for each in moments))]
        for name, x in model.items()
        if is_trained(name, x)
    }
    with np.errstate(over="ignore", invalid="ignore"):
        for name, rows in trained.items():
            _try_array(name, rows, moments, step)
        for rows in trained.values():
            _step_array(rows, step)
    del trained
    return Aggregate(model=mean, state=state, used=updates)


def _try_array(name: str, rows: list[NDArray], moments: Sequence[str], step: Step) -> None:
    """Raise AggregationError where a step of this array would leave what is not finite; change nothing."""
    for block in blocks(rows[0].size):
        x, mean, *kept = (row[block] for row in rows)
        delta, tried = np.subtract(mean, x), tuple(each.copy() for each in kept)
        step(delta, tried)
        new = np.add(x, delta)
        for what, values in zip((*moments, "new value"), (*tried, new), strict=True):
            if not np.isfinite(values).all():
                largest = float(np.abs(np.subtract(mean, x)).max())
                raise AggregationError(
                    f"the optimizer's {what} of array {name!r} would be infinite or NaN: the clients' mean "
                    f"changes the array by up to {largest:.3g}. The model and the optimizer's state stay as "
                    "they were. Set FL_UPDATE_NORM_BOUND above 0 to bound each update"
                )


def _step_array(rows: list[NDArray], step: Step) -> None:
    for block in blocks(rows[0].size):
        x, mean, *moments = (row[block] for row in rows)
        delta = np.subtract(mean, x)
        step(delta, tuple(moments))
        np.add(x, delta, out=mean)


def average_into(m: NDArray, delta: NDArray) -> None:
    """Set the first moment m = b1 m + (1 - b1) delta."""
    kind = m.dtype.type
    np.multiply(m, kind(BETA_1), out=m)
    np.add(m, np.multiply(delta, kind(1 - BETA_1)), out=m)


def adapt(delta: NDArray, m: NDArray, v: NDArray, lr: float) -> None:
    """Set delta = lr * m / (sqrt(v) + tau), the change that the adaptive optimizers make."""
    kind = delta.dtype.type
    np.sqrt(v, out=delta)
    np.add(delta, kind(TAU), out=delta)
    np.divide(m, delta, out=delta)
    np.multiply(delta, kind(lr), out=delta)


def check_moments(state: State) -> str | None:
    """Return which moment holds what no step can have left, or None; `v/` are second moments."""
    for key, array in state.items():
        if not np.isfinite(array).all():
            return f"{key!r} holds NaN or infinity; expected numbers that a step leaves"
        if key.startswith("v/") and (array < 0).any():
            return f"{key!r} is a second moment below 0; expected numbers that a step leaves"
    return None
