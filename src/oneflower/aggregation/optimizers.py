"""What the server optimizers share: a step along the clients' mean change, with moments kept between rounds.

Reddi et al. 2021, "Adaptive Federated Optimization", algorithm 2: delta = mean - x is the pseudo-gradient,
and each optimizer says how its moments and the step follow from it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from oneflower.aggregation.blocks import Rows, Whole, blocks
from oneflower.aggregation.compiled import kernel
from oneflower.aggregation.errors import AggregationError
from oneflower.aggregation.kernel import Formula, Tops
from oneflower.aggregation.mean import shares_of
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

StepOfBlock = Callable[[NDArray, tuple[NDArray, ...]], None]
"""Turns a block of delta into the change of the model and updates the block's moments, both in place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An optimizer's step: for a block, and as a formula of the compiled kernel with its constants."""

    of_block: StepOfBlock
    formula: Formula
    lr: float
    decay: float = BETA_1

    @property
    def constants(self) -> tuple[float, ...]:
        """What the kernel computes with, in its order."""
        return (self.lr, self.decay, 1 - self.decay, BETA_2, 1 - BETA_2, TAU)


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
    tops: dict[str, Tops] = {}
    whole = _measuring(updates, model, state, moments, tops)
    mean = this_round.mean(updates, whole)
    require_finite(mean.model, mean.finite)
    trained = {
        name: [x.reshape(-1), mean.model[name].reshape(-1), *_moments_of(name, state, moments)]
        for name, x in model.items()
        if is_trained(name, x)
    }
    with np.errstate(over="ignore", invalid="ignore"):
        harmless = {name for name, top in tops.items() if _stays_finite(top, step)}
        for name, rows in trained.items():
            if name not in harmless:
                _try_array(name, rows, moments, step)
        for rows in trained.values():
            _step_array(rows, step)
    del trained
    untouched = mean.finite - set(tops)
    return Aggregate(model=mean.model, state=state, used=updates, finite=untouched | harmless)


def _moments_of(name: str, state: State, moments: Sequence[str]) -> list[NDArray]:
    return [state[f"{each}/{name}"].reshape(-1) for each in moments]


def _measuring(
    updates: Ordered, model: Arrays, state: State, moments: Sequence[str], tops: dict[str, Tops]
) -> Whole | None:
    """Return the compiled mean that also writes into `tops` how large the values are that the step meets."""
    compiled = kernel()
    if compiled is None:
        return None
    shares, mean = shares_of(updates), compiled.mean(shares_of(updates))

    def whole(name: str, rows: Rows, out: NDArray) -> Sequence[slice]:
        x = model[name]
        kept = _moments_of(name, state, moments) if is_trained(name, x) else []
        found = compiled.mean_and_tops(shares, rows, out, x.reshape(-1), kept) if kept else None
        if found is None:
            return mean(name, rows, out)
        if not np.isfinite(found.after).all():
            return tuple(blocks(out.size))
        tops[name] = found
        return ()

    return whole


def _stays_finite(tops: Tops, step: Step) -> bool:
    """Return whether the step leaves finite numbers, judged by the largest that it meets.

    Each operation of a step grows with the size of what it is given, and so do the roundings: the step of the
    largest values bounds that of all others. Where values are subtracted, as in Yogi, their sum is the bound,
    and the change is bounded by dividing by tau alone. What cannot be told so is tried.
    """
    if tops.signed[-1] and step.formula is not Formula.MOMENTUM:  # there is no root of it
        return False
    kind = tops.change.dtype.type
    lr, decay, taken, decay_2, taken_2, tau = (kind(each) for each in step.constants)
    change, last = tops.change, tops.moments[-1]
    square = change * change
    match step.formula:
        case Formula.MOMENTUM:
            bounds = [last * decay + change]
            moved = bounds[0] * lr
        case Formula.ADAGRAD:
            bounds = [last + square]
            moved = change / tau * lr
        case Formula.ADAM:
            bounds = [tops.moments[0] * decay + change * taken, last * decay_2 + square * taken_2]
            moved = bounds[0] / tau * lr
        case Formula.YOGI:
            bounds = [tops.moments[0] * decay + change * taken, last + square]
            moved = bounds[0] / tau * lr
    return bool(np.isfinite([square, *bounds, moved, tops.before + moved]).all())


def _try_array(name: str, rows: list[NDArray], moments: Sequence[str], step: Step) -> None:
    """Raise AggregationError where a step of this array would leave what is not finite; change nothing."""
    for block in blocks(rows[0].size):
        x, mean, *kept = (row[block] for row in rows)
        delta, tried = np.subtract(mean, x), tuple(each.copy() for each in kept)
        step.of_block(delta, tried)
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
    compiled = kernel()
    if compiled and compiled.step(step.formula, step.constants, rows[0], rows[1], rows[2:]):
        return
    for block in blocks(rows[0].size):
        x, mean, *moments = (row[block] for row in rows)
        delta = np.subtract(mean, x)
        step.of_block(delta, tuple(moments))
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
