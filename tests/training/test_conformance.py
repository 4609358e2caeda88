"""One suite over all strategies: Flower's numbers where Flower is right, and what Flower lacks."""

import copy
import random

import numpy as np
import pytest
from flwr.serverapp import strategy as flower

from oneflower.aggregation import AggregationError, Family, spec_of

from ..flower_side import flowers
from .clients import (
    FEWEST,
    NAMES,
    aggregated,
    flower_aggregated,
    model,
    numpy_of,
    ours,
    raw,
    record,
    replies,
    reply,
)

every = pytest.mark.parametrize("name", NAMES)
NOT_IN_FLOWER = {"CenteredClipping", "FLTrust", "GeometricMedian", "Robust"}
IN_FLOWER = [n for n in NAMES if n not in NOT_IN_FLOWER]
like_flower = pytest.mark.parametrize("name", [n for n in IN_FLOWER if not spec_of(n).differs_from_flower])
unlike_flower = pytest.mark.parametrize("name", [n for n in IN_FLOWER if spec_of(n).differs_from_flower])
stateful = pytest.mark.parametrize("name", [n for n in NAMES if spec_of(n).init(model())])


def fewest(name):
    return max(2, spec_of(name).minimum_updates(spec_of(name).example))


def rounds(strategy, start, numbers, count=FEWEST):
    """Run the rounds of these numbers; what the clients send follows from the round and the model."""
    current = start
    for number in numbers:
        arrays, _ = aggregated(strategy, current, replies(count, current, seed=number), number)
        current = numpy_of(arrays)
    return current


@every
def test_flower_has_a_strategy_of_that_name(name):
    assert hasattr(flower, name) == (name not in NOT_IN_FLOWER)


@like_flower
@pytest.mark.parametrize("count", ["bound", 10, 23, 50])
def test_benign_float32_gives_flowers_result(name, count):
    """To 1e-6 of the model's size, for three rounds, each from the model and the state of the one before."""
    count = count if isinstance(count, int) else fewest(name)
    strategy, theirs, current = ours(name), flowers(name, spec_of(name).example), model(size=200)
    for number in (1, 2, 3):
        given = replies(count, current, seed=number)
        arrays, metrics = aggregated(strategy, current, copy.deepcopy(given), number)
        expected, expected_metrics = flower_aggregated(theirs, current, given, number)
        assert list(arrays) == list(expected)
        for key, array in expected.items():
            size = np.abs(array).max()
            np.testing.assert_allclose(arrays[key].numpy(), array, rtol=1e-6, atol=1e-6 * size)
        assert metrics == pytest.approx(expected_metrics)
        current = numpy_of(arrays)
        theirs.current_arrays = None  # else FedAvgM goes on from its own float noise


@unlike_flower
def test_a_difference_from_flower_that_is_documented_exists(name):
    start, given = model(size=200), replies(12, model(size=200))
    arrays, _ = aggregated(ours(name), start, copy.deepcopy(given))
    expected, _ = flower_aggregated(flowers(name, spec_of(name).example), start, given)
    assert any(np.abs(arrays[key].numpy() - array).max() > 1e-4 for key, array in expected.items())


@every
def test_a_model_of_one_scalar(name):
    start = {"w": np.array(1.0, np.float32)}
    given = replies(FEWEST, start)
    values = [float(message.content["arrays"]["w"].numpy()) for message in given]
    result = numpy_of(aggregated(ours(name), start, given)[0])["w"]
    assert result.shape == ()
    assert result.dtype == np.float32
    if spec_of(name).family is not Family.SERVER_OPTIMIZER:
        assert min(values) <= result <= max(values)


@like_flower
def test_a_model_of_a_million_values(name):
    start = {"w": np.zeros(1_000_000, np.float32)}
    given = replies(FEWEST, start)
    result = numpy_of(aggregated(ours(name), start, copy.deepcopy(given))[0])["w"]
    expected, _ = flower_aggregated(flowers(name, spec_of(name).example), start, given)
    np.testing.assert_allclose(result, expected["w"], rtol=1e-6, atol=1e-6)
    assert np.isfinite(result).all()


@every
def test_the_order_of_the_replies_and_the_node_ids_do_not_change_one_byte(name):
    start = model()
    given = replies(11, start)
    strangers = [
        reply(message.content["arrays"], node_id=1000 - i, **_metrics(message))
        for i, message in enumerate(given)
    ]
    shuffled = list(strangers)
    random.Random(5).shuffle(shuffled)
    first, first_metrics = aggregated(ours(name), start, given)
    second, second_metrics = aggregated(ours(name), start, shuffled)
    assert raw(first) == raw(second)
    assert first_metrics == second_metrics


def _metrics(message):
    record_of = dict(message.content["metrics"])
    return {"num_examples": record_of["num-examples"], "loss": record_of["loss"]}


@every
def test_a_batchnorm_model_keeps_every_dtype_and_its_statistics_valid(name):
    """0-d counters end several of Flower's strategies, and become float64 in the others."""
    start = {
        "conv.weight": np.ones((3, 2), np.float32),
        "bn.running_mean": np.zeros(3, np.float32),
        "bn.running_var": np.full(3, 1e-4, np.float32),
        "bn.num_batches_tracked": np.array(17),
        "half": np.ones(4, np.float16),
        "double": np.ones(4),
    }
    rng = np.random.default_rng(0)

    def trained(array):
        moved = np.abs(array + 1e-5 * rng.standard_normal(array.shape))
        return np.asarray(moved if array.dtype.kind == "f" else array).astype(array.dtype)

    strategy, current = ours(name), start
    for server_round in range(1, 6):
        given = [
            reply({key: trained(array) for key, array in current.items()}, node_id=i + 1)
            for i in range(FEWEST)
        ]
        arrays, _ = aggregated(strategy, current, given, server_round)
        current = numpy_of(arrays)
    assert {k: (a.shape, a.dtype) for k, a in current.items()} == {
        k: (a.shape, a.dtype) for k, a in start.items()
    }
    assert (current["bn.running_var"] >= 0).all()
    assert current["bn.num_batches_tracked"] == 17


@every
def test_arrays_keep_the_order_of_the_model_that_was_sent(name):
    """Apps may read a model as a list; a client that sends its arrays in another order does not change it."""
    start = {str(i): np.full(2, float(i), np.float32) for i in range(12)}
    given = [reply(dict(reversed(start.items())), node_id=i + 1) for i in range(FEWEST)]
    arrays, _ = aggregated(ours(name), start, given)
    assert list(arrays) == list(start)


@every
def test_too_few_updates_raise_an_error_that_says_how_many_are_needed(name):
    needed = spec_of(name).minimum_updates(spec_of(name).example)
    with pytest.raises(
        AggregationError, match=f"given {needed - 1} valid updates; expected at least {needed}"
    ):
        aggregated(ours(name), model(), replies(needed - 1))


@every
def test_a_result_is_what_flower_itself_would_have_serialised(name):
    """The bytes, and with them Flower's object ids, do not tell that no copy was made."""
    start = model()
    arrays, _ = aggregated(ours(name), start, replies(FEWEST, start))
    assert raw(arrays) == raw(record(numpy_of(arrays)))
    assert all(isinstance(array.data, bytes) for array in arrays.values())


@every
def test_aggregating_leaves_the_replies_and_the_model_as_they_were(name):
    start = model()
    given = replies(FEWEST, start)
    before = [raw(message.content["arrays"]) for message in given]
    aggregated(ours(name), start, given)
    assert [raw(message.content["arrays"]) for message in given] == before
    assert raw(record(start)) == raw(record(model()))


# --- state ----------------------------------------------------------------------------------------


@every
def test_a_resumed_strategy_ends_with_the_same_bytes(name):
    start = model()
    whole = rounds(ours(name), start, range(1, 7))
    before, after = ours(name), ours(name)
    half = rounds(before, start, range(1, 4))
    after.load_state(before.state_arrays(), half)
    assert raw(record(rounds(after, half, range(4, 7)))) == raw(record(whole))


@stateful
def test_a_state_that_was_lost_would_be_noticed(name):
    """Else the test above would prove nothing of it."""
    start = model()
    half = rounds(ours(name), start, range(1, 4))
    whole = rounds(ours(name), start, range(1, 7))
    assert raw(record(rounds(ours(name), half, range(4, 7)))) != raw(record(whole))


@every
def test_there_is_no_state_before_the_first_round(name):
    strategy = ours(name)
    assert strategy.state_arrays() == {}
    aggregated(strategy, model(), replies(FEWEST))
    assert set(strategy.state_arrays()) == set(spec_of(name).init(model()))


@stateful
def test_a_state_that_was_handed_out_does_not_change_any_more(name):
    """A checkpoint may be written while the next round is aggregated."""
    strategy = ours(name)
    aggregated(strategy, model(), replies(FEWEST))
    state = strategy.state_arrays()
    before = {key: array.copy() for key, array in state.items()}
    aggregated(strategy, model(), replies(FEWEST, seed=2), 2)
    for key, array in before.items():
        np.testing.assert_array_equal(state[key], array)
        assert (strategy.state_arrays()[key] != array).any()


@stateful
def test_an_empty_state_starts_fresh(name):
    strategy = ours(name)
    aggregated(strategy, model(), replies(FEWEST))
    strategy.load_state({}, model())
    assert strategy.state_arrays() == {}
