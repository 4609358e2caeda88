"""One bad client in a round: it is named with a reason, and the others' model is as if it were not there."""

import numpy as np
import pytest
from flwr.common import Array, ArrayRecord, MetricRecord

from oneflower.aggregation import check_together, model_schema
from oneflower.training.replies import ReplyError, parse_evaluation, parse_update

from .clients import (
    FEWEST,
    NAMES,
    aggregated,
    checked,
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
    "num-examples NaN": (reply(START, BAD_NODE, num_examples=float("nan")), "num-examples is nan"),
    "num-examples infinite": (reply(START, BAD_NODE, num_examples=float("inf")), "num-examples is inf"),
    "num-examples a list": (reply(START, BAD_NODE, num_examples=[5, 5]), "num-examples is [5, 5]"),
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

every = pytest.mark.parametrize("name", NAMES)


def finished(name, updates):
    arrays, metrics = ours(name).aggregate(1, START, updates)
    return arrays, dict(metrics)


@every
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_client_is_named_and_the_model_is_that_of_the_others(name, bad):
    message, words = BAD[bad]
    good = replies(FEWEST, START)
    together, reasons = checked([*good[:3], message, *good[3:]], START)
    assert list(reasons) == [BAD_NODE]
    assert words in reasons[BAD_NODE]
    arrays, metrics = finished(name, together.valid)
    without, expected_metrics = aggregated(ours(name), START, good)
    assert raw(arrays) == raw(without)
    assert metrics == expected_metrics
    assert all(np.isfinite(array).all() for array in numpy_of(arrays).values())


@every
def test_a_metric_that_only_one_client_sends_is_named_and_ignored_but_its_update_is_used(name):
    good = replies(FEWEST, START)
    chatty = reply(START, BAD_NODE, loss=0.5, mood=7.0)
    quiet = reply(START, BAD_NODE, loss=0.5)
    together, reasons = checked([*good, chatty], START)
    assert not reasons
    assert [(r.client, "'mood'" in r.reason) for r in together.remarks] == [(BAD_NODE, True)]
    arrays, metrics = finished(name, together.valid)
    expected, expected_metrics = aggregated(ours(name), START, [*good, quiet])
    assert raw(arrays) == raw(expected)
    assert name == "Krum" or metrics == expected_metrics


def test_several_bad_clients_of_all_kinds_are_each_named():
    messages = []
    for node_id, (message, _) in enumerate(BAD.values(), start=BAD_NODE):
        message.metadata.__dict__["_src_node_id"] = node_id
        messages.append(message)
    good = replies(len(BAD) + FEWEST, START)
    try:
        together, reasons = checked([*messages, *good], START)
    finally:
        for message in messages:
            message.metadata.__dict__["_src_node_id"] = BAD_NODE
    assert len(together.valid) == len(good)
    assert sorted(reasons) == list(range(BAD_NODE, BAD_NODE + len(BAD)))


def test_an_update_is_what_the_reply_says_and_shares_its_memory():
    message = reply(dict(reversed(START.items())), node_id=7, num_examples=12, loss=0.5, scores=[1.0, 2.0])
    update = parse_update(message, model_schema(START))
    assert (update.client, update.num_examples) == (7, 12.0)
    assert update.metrics == {"num-examples": 12, "loss": 0.5, "scores": [1.0, 2.0]}
    assert list(update.arrays) == list(START)
    for name, array in update.arrays.items():
        assert not array.flags.owndata
        np.testing.assert_array_equal(array, START[name])


EVALUATION = [
    bad for bad in BAD if "metric" in bad or "num-examples" in bad or bad in {"empty reply", "error reply"}
]


@pytest.mark.parametrize("bad", EVALUATION)
def test_a_bad_evaluation_reply_does_not_enter_the_metrics(bad):
    message, words = BAD[bad]
    good = [parse_evaluation(reply(None, node_id)) for node_id in range(1, 6)]
    reason = ""
    try:
        together = check_together([parse_evaluation(message), *good])
    except ReplyError as error:
        reason = str(error)
    else:
        (reason,) = (rejected.reason for rejected in together.rejected if rejected.client == BAD_NODE)
        assert together.valid == check_together(good).valid
    assert words in reason


@pytest.mark.parametrize("bad", [bad for bad in BAD if "bytes" in bad or "array" in bad or "pickle" in bad])
def test_arrays_in_an_evaluation_reply_are_not_read(bad):
    """Nobody asked for them: what they hold cannot end a training."""
    message, _ = BAD[bad]
    assert parse_evaluation(message).arrays == {}


def test_a_reason_of_a_client_does_not_fill_the_log():
    with pytest.raises(ReplyError) as caught:
        parse_evaluation(error_reply(reason="x" * 100_000))
    assert len(str(caught.value)) <= 300
