"""One bad client in a round: it is named with a reason, and the others' model is as if it were not there."""

import numpy as np
import pytest
from flwr.common import Array, ArrayRecord, MetricRecord

from oneflower.aggregation import AggregationError

from .conftest import (
    FEWEST,
    OPTIONS,
    configured,
    error_reply,
    model,
    numpy_of,
    ours,
    raw,
    record,
    replies,
    reply,
    reply_with,
)

BAD_NODE = 666
START = model()


def changed(**arrays):
    named = {name.replace("_", "."): array for name, array in arrays.items()}
    return {name: array for name, array in (START | named).items() if array is not None}


def with_value(value):
    weight = START["conv.weight"].copy()
    weight[3, 4] = value
    return changed(conv_weight=weight)


def bytes_of(**fields):
    good = record(START)
    array = good["conv.bias"]
    values = {"dtype": array.dtype, "shape": array.shape, "stype": array.stype, "data": array.data} | fields
    good["conv.bias"] = Array(**values)
    return good


def pickled():
    good = bytes_of().pop("conv.bias").data
    return good.replace(b"'<f4'", b"'|O' ")


GOOD_METRICS = MetricRecord({"num-examples": 11.0, "loss": 0.1})

# name -> (the reply, words of the reason)
BAD = {
    "NaN": (reply(with_value(np.nan), BAD_NODE), "NaN or infinity"),
    "infinity": (reply(with_value(-np.inf), BAD_NODE), "NaN or infinity"),
    "wrong shape": (reply(changed(conv_bias=np.ones(9, np.float32)), BAD_NODE), "shape [9]; expected [10]"),
    "broadcastable shape": (reply(changed(conv_bias=np.ones(1, np.float32)), BAD_NODE), "shape [1]"),
    "missing array": (reply(changed(conv_bias=None), BAD_NODE), "'conv.bias' is missing"),
    "extra array": (reply(changed(extra=np.ones(1)), BAD_NODE), "'extra' is not in the model"),
    "wrong dtype": (reply(changed(conv_bias=np.ones(10)), BAD_NODE), "dtype float64; expected float32"),
    "num-examples 0": (reply(START, BAD_NODE, num_examples=0), "num-examples is 0"),
    "num-examples negative": (reply(START, BAD_NODE, num_examples=-5), "num-examples is -5"),
    "num-examples missing": (reply(START, BAD_NODE, num_examples=None), "num-examples is missing"),
    "num-examples huge": (reply(START, BAD_NODE, num_examples=1e12), "1000 times the median"),
    "num-examples NaN": (reply(START, BAD_NODE, num_examples=float("nan")), "num-examples is nan"),
    "num-examples infinite": (reply(START, BAD_NODE, num_examples=float("inf")), "num-examples is inf"),
    "num-examples a list": (reply(START, BAD_NODE, num_examples=[5, 5]), "num-examples is [5, 5]"),
    "missing metric": (reply(START, BAD_NODE, loss=None), "['loss'] are missing"),
    "empty reply": (reply_with({}, BAD_NODE), "reply is empty"),
    "no arrays": (reply(None, BAD_NODE), "0 array records; expected one"),
    "empty arrays": (reply(ArrayRecord(), BAD_NODE), "are missing"),
    "two array records": (
        reply_with({"arrays": record(START), "more": record(START), "metrics": GOOD_METRICS}, BAD_NODE),
        "2 array records; expected one",
    ),
    "no metrics": (reply_with({"arrays": record(START)}, BAD_NODE), "0 metric records; expected one"),
    "two metric records": (
        reply_with({"arrays": record(START), "metrics": GOOD_METRICS, "more": GOOD_METRICS}, BAD_NODE),
        "2 metric records; expected one",
    ),
    "error reply": (error_reply(BAD_NODE), "CUDA out of memory"),
    "corrupt bytes": (reply(bytes_of(data=b"\x93NUMPY\x01\x00garbage"), BAD_NODE), "not readable"),
    "truncated bytes": (reply(bytes_of(data=bytes_of()["conv.bias"].data[:-1]), BAD_NODE), "not readable"),
    "no bytes": (reply(bytes_of(data=b""), BAD_NODE), "not readable"),
    "pickled objects": (reply(bytes_of(data=pickled()), BAD_NODE), "not readable"),
    "unknown serialisation": (reply(bytes_of(stype="pickle"), BAD_NODE), "serialised as 'pickle'"),
}

every = pytest.mark.parametrize("name", OPTIONS)


@every
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_client_is_named_and_the_model_is_that_of_the_others(name, bad):
    message, words = BAD[bad]
    good = replies(FEWEST, START)
    strategy = configured(ours(name), START)
    checked = strategy.check([*good[:3], message, *good[3:]], record(START))
    assert [rejection.node_id for rejection in checked.rejected] == [BAD_NODE]
    assert words in checked.rejected[0].reason
    arrays, metrics = strategy.aggregate_train(1, checked.valid)
    without, expected_metrics = configured(ours(name), START).aggregate_train(1, good)
    assert raw(arrays) == raw(without)
    assert dict(metrics) == dict(expected_metrics)
    assert all(np.isfinite(array).all() for array in numpy_of(arrays).values())


@every
def test_a_metric_that_only_one_client_sends_is_named_and_ignored_but_its_update_is_used(name):
    good = replies(FEWEST, START)
    chatty = reply(START, BAD_NODE, loss=0.5, mood=7.0)
    quiet = reply(START, BAD_NODE, loss=0.5)
    strategy = configured(ours(name), START)
    checked = strategy.check([*good, chatty], record(START))
    assert not checked.rejected
    assert [(r.node_id, "'mood'" in r.reason) for r in checked.remarks] == [(BAD_NODE, True)]
    arrays, metrics = strategy.aggregate_train(1, checked.valid)
    expected, expected_metrics = configured(ours(name), START).aggregate_train(1, [*good, quiet])
    assert raw(arrays) == raw(expected)
    assert name == "Krum" or dict(metrics) == dict(expected_metrics)


@every
def test_several_bad_clients_of_all_kinds_are_each_named(name):
    messages = []
    for node_id, (message, _) in enumerate(BAD.values(), start=BAD_NODE):
        message.metadata.__dict__["_src_node_id"] = node_id
        messages.append(message)
    good = replies(len(BAD) + FEWEST, START)
    try:
        checked = configured(ours(name), START).check([*messages, *good], record(START))
    finally:
        for message in messages:
            message.metadata.__dict__["_src_node_id"] = BAD_NODE
    assert len(checked.valid) == len(good)
    assert [r.node_id for r in checked.rejected] == list(range(BAD_NODE, BAD_NODE + len(BAD)))


def test_checking_one_by_one_and_then_together_is_checking_all():
    good = replies(5, START)
    strategy = ours("FedAvg")
    schema = strategy.schema(record(START))
    for message, words in BAD.values():
        one_by_one = strategy.check_reply(message, schema)
        if one_by_one is not None:
            assert words in one_by_one
        else:
            assert words in strategy.check_together([*good, message]).rejected[0].reason


@pytest.mark.parametrize(
    "bad",
    [bad for bad in BAD if "metric" in bad or "num-examples" in bad or bad in {"empty reply", "error reply"}],
)
def test_a_bad_evaluation_reply_does_not_enter_the_metrics(bad):
    message, words = BAD[bad]
    good = [reply(None, node_id) for node_id in range(1, 6)]
    strategy = ours("FedAvg")
    checked = strategy.check_evaluate([message, *good])
    assert [rejection.node_id for rejection in checked.rejected] == [BAD_NODE]
    assert words in checked.rejected[0].reason
    assert strategy.aggregate_evaluate(1, [message, *good]) == strategy.aggregate_evaluate(1, good)


NOT_SEEN_BY_FORM = {"NaN", "infinity", "num-examples huge", "missing metric", "two array records"}


@every
@pytest.mark.parametrize("bad", [bad for bad in BAD if bad not in NOT_SEEN_BY_FORM])
def test_a_reply_that_nobody_checked_is_refused_with_our_own_error(name, bad):
    strategy = configured(ours(name), START)
    with pytest.raises(AggregationError):
        strategy.aggregate_train(1, [*replies(FEWEST, START), BAD[bad][0]])


def test_an_evaluation_without_a_valid_reply_has_no_metrics():
    assert ours("FedAvg").aggregate_evaluate(1, [error_reply(), reply_with({})]) is None
    assert ours("FedAvg").aggregate_evaluate(1, []) is None


def test_a_reason_of_a_client_does_not_fill_the_log():
    checked = ours("FedAvg").check([error_reply(reason="x" * 100_000)], record(START))
    assert len(checked.rejected[0].reason) <= 300
