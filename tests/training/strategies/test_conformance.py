"""One suite over all six strategies: Flower's numbers where Flower is right, and what Flower lacks."""

import copy
import random

import numpy as np
import pytest

from oneflower.aggregation import AggregationError, minimum_clients

from .conftest import (
    FEWEST,
    OPTIONS,
    configured,
    flowers,
    model,
    numpy_of,
    ours,
    raw,
    record,
    replies,
    reply,
)

every = pytest.mark.parametrize("name", OPTIONS)


def run(strategy, start, given, server_round=1):
    arrays, metrics = configured(strategy, start).aggregate_train(server_round, given)
    return numpy_of(arrays), dict(metrics)


def paper_bulyan(given, num_malicious):
    """El Mhamdi et al. 2018 over one flat vector a client: Krum iterated, then the mean around the median."""
    values = np.stack(
        [np.concatenate([a.numpy().ravel() for a in message.content["arrays"].values()]) for message in given]
    )
    theta = len(values) - 2 * num_malicious
    remaining, selected = list(range(len(values))), []
    while len(selected) < theta:
        wide = values[remaining].astype(np.float64)
        distances = ((wide[:, None] - wide[None]) ** 2).sum(axis=2)
        count = max(1, len(remaining) - num_malicious - 2)
        scores = [np.sort(np.delete(row, i))[:count].sum() for i, row in enumerate(distances)]
        selected.append(remaining.pop(int(np.argmin(scores))))
    ranked = np.sort(values[selected], axis=0)
    order = np.argsort(np.abs(ranked - np.median(ranked, axis=0)), axis=0, kind="stable")
    return np.take_along_axis(ranked, order[: theta - 2 * num_malicious], axis=0).mean(axis=0)


@every
@pytest.mark.parametrize("count", ["bound", 10, 23, 50])
def test_benign_float32_gives_flowers_result(name, count):
    """To 1e-6 of the model's size; Bulyan is held to the paper, which Flower's one-shot choice is not."""
    count = count if isinstance(count, int) else max(minimum_clients(name, 1), 2)
    start, given = model(size=200), replies(count, model(size=200))
    result, metrics = run(ours(name), start, given)
    if name == "Bulyan":
        flat = np.concatenate([array.ravel() for array in result.values()])
        np.testing.assert_allclose(flat, paper_bulyan(given, 1), rtol=0, atol=4e-6)
        return
    expected, expected_metrics = run(flowers(name), start, copy.deepcopy(given))
    assert list(result) == list(expected)
    for key, array in expected.items():
        np.testing.assert_allclose(result[key], array, rtol=1e-6, atol=1e-6 * np.abs(array).max())
    assert metrics == pytest.approx(expected_metrics)


@every
def test_a_model_of_one_scalar(name):
    start = {"w": np.array(1.0, np.float32)}
    given = replies(FEWEST, start)
    result, _ = run(ours(name), start, given)
    assert result["w"].shape == ()
    assert result["w"].dtype == np.float32
    values = [float(message.content["arrays"]["w"].numpy()) for message in given]
    assert name == "FedAdam" or min(values) <= result["w"] <= max(values)


@every
def test_a_model_of_a_million_values(name):
    start = {"w": np.zeros(1_000_000, np.float32)}
    given = replies(FEWEST, start)
    result, _ = run(ours(name), start, given)
    if name != "Bulyan":
        expected, _ = run(flowers(name), start, copy.deepcopy(given))
        np.testing.assert_allclose(result["w"], expected["w"], rtol=1e-6, atol=1e-6)
    assert np.isfinite(result["w"]).all()


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
    first, first_metrics = configured(ours(name), start).aggregate_train(1, given)
    second, second_metrics = configured(ours(name), start).aggregate_train(1, shuffled)
    assert raw(first) == raw(second)
    assert dict(first_metrics) == dict(second_metrics)


def _metrics(message):
    record_of = dict(message.content["metrics"])
    return {"num_examples": record_of["num-examples"], "loss": record_of["loss"]}


@every
def test_a_batchnorm_model_keeps_every_dtype_and_its_statistics_valid(name):
    """0-d counters end Flower's FedAdam, FedTrimmedAvg and Bulyan, and become float64 in the others."""
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
        arrays, _ = configured(strategy, current).aggregate_train(server_round, given)
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
    arrays, _ = configured(ours(name), start).aggregate_train(1, given)
    assert list(arrays) == list(start)


@every
def test_too_few_updates_raise_an_error_that_says_how_many_are_needed(name):
    needed = minimum_clients(name, 1)
    strategy = configured(ours(name), model())
    assert strategy.minimum_updates == needed
    with pytest.raises(AggregationError, match=f"expected at least {needed if needed > 1 else 'one'}"):
        strategy.aggregate_train(1, replies(needed - 1))


@every
def test_a_result_is_what_flower_itself_would_have_serialised(name):
    """The bytes, and with them Flower's object ids, do not tell that no copy was made."""
    start = model()
    arrays, _ = configured(ours(name), start).aggregate_train(1, replies(FEWEST, start))
    assert raw(arrays) == raw(record(numpy_of(arrays)))
    assert all(isinstance(array.data, bytes) for array in arrays.values())


@every
def test_aggregating_leaves_the_replies_as_they_were(name):
    start = model()
    given = replies(FEWEST, start)
    before = [raw(message.content["arrays"]) for message in given]
    configured(ours(name), start).aggregate_train(1, given)
    assert [raw(message.content["arrays"]) for message in given] == before


def test_krum_takes_the_metrics_of_the_client_that_it_takes_the_model_of():
    start = model()
    given = replies(FEWEST, start)
    arrays, metrics = configured(ours("Krum"), start).aggregate_train(1, given)
    chosen = next(m for m in given if raw(m.content["arrays"]) == raw(arrays))
    assert metrics["loss"] == chosen.content["metrics"]["loss"]


def test_bulyan_takes_the_metrics_of_those_that_it_selected():
    start = model()
    given = replies(FEWEST, start)
    attack = reply({name: array + 100 for name, array in start.items()}, node_id=99, loss=1e6)
    _, metrics = configured(ours("Bulyan"), start).aggregate_train(1, [*given, attack])
    assert metrics["loss"] <= 1
