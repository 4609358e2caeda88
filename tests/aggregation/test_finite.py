"""What is finite stays finite, or the round says that it does not: the new model, and every moment."""

import numpy as np
import pytest

from oneflower.aggregation import SPECS, AggregationError, Round, ordered, weighted_metrics

from .conftest import FEWEST, update, values_of

BY_NAME = {spec.name: spec for spec in SPECS}
MODEL = {
    "w": np.zeros(40_000, np.float32),
    "bn.running_var": np.ones(4, np.float32),
    "half": np.zeros(5, np.float16),
}


ROOT = {name: (array + 0.05).astype(array.dtype) for name, array in MODEL.items()}


def sent(value, where, count, attackers=2):
    """Return updates of which the last put one value everywhere into one array; the others are honest."""
    rng = np.random.default_rng(1)
    updates = []
    for i in range(count):
        arrays = {
            name: (array + 0.1 * rng.random(array.shape)).astype(array.dtype) for name, array in MODEL.items()
        }
        if i >= count - attackers:
            arrays[where] = np.full_like(MODEL[where], value)
        updates.append(update(arrays, client=i, num_examples=100.0))
    return ordered(updates)


def tried(spec, updates, state, values, this_round):
    """Return the aggregate, or None and why there is none."""
    try:
        return spec.aggregate(updates, MODEL, state, values, this_round), ""
    except AggregationError as error:
        return None, str(error)


@pytest.mark.parametrize("everybody", [False, True], ids=["two attackers", "all of them"])
@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("w", 3.4e38),
        ("w", -3.4e38),
        ("w", 1e22),
        ("w", 1e19),
        ("bn.running_var", 3.4e38),
        ("half", 65504),
        ("half", 300),
    ],
)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_the_next_model_and_state_are_finite_or_nothing_has_changed(spec, where, value, everybody):
    values, state = values_of(spec), spec.init(MODEL)
    for number in (1, 2):  # the first leaves moments that are not zero
        before = {name: array.copy() for name, array in state.items()}
        attackers = FEWEST if everybody else 2
        updates = sent(0.1 if number == 1 else value, where, FEWEST, attackers)
        aggregate, reason = tried(spec, updates, state, values, Round(number=number, root=ROOT))
        if aggregate is None:
            assert "FL_UPDATE_NORM_BOUND" in reason
            assert where in reason
            assert all(state[name].tobytes() == array.tobytes() for name, array in before.items())
            return
        state = aggregate.state
        for array in (*aggregate.model.values(), *state.values()):
            assert np.isfinite(array).all()


def test_a_moment_that_would_overflow_is_named_and_the_optimizer_goes_on_afterwards():
    """1e22 squared is no float32: v became infinite, its weight frozen for ever (security.md, row 5)."""
    spec = BY_NAME["FedAdam"]
    model = {"w": np.zeros(4, np.float32)}
    state = spec.init(model)
    honest = [update(np.full(4, 0.3, np.float32), client=i, num_examples=100.0) for i in range(3)]
    evil = update(np.full(4, 1e22, np.float32), client=9, num_examples=100.0)
    with pytest.raises(AggregationError, match=r"optimizer's v of array 'w' would be infinite"):
        spec.aggregate(ordered([*honest, evil]), model, state, spec.values(), Round())
    assert not any(array.any() for array in state.values())
    after = spec.aggregate(ordered(honest), model, state, spec.values(), Round())
    assert (after.model["w"] > 0).all()


def test_a_mean_of_the_largest_numbers_that_rounds_up_to_infinity_is_not_adopted():
    """Shares whose sum rounds up to more than 1 are enough (security.md, row 24)."""
    given = [
        update(np.full(4, np.finfo(np.float64).max), i, n) for i, n in enumerate((569.0, 85.0, 891.0, 238.0))
    ]
    with pytest.raises(AggregationError, match="the new model holds NaN or infinity in array 'w'"):
        BY_NAME["FedAvg"].aggregate(ordered(given), {"w": np.zeros(4)}, {}, {}, Round())


def test_metrics_at_the_largest_number_do_not_end_the_round():
    top = float(np.finfo(np.float64).max)
    given = [update(np.ones(1), i, 1.0 + i, loss=top, accuracy=0.5) for i in range(7)]
    assert weighted_metrics(given)["accuracy"] == pytest.approx(0.5)
