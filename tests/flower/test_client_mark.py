"""A client's replies say what it is called; the ServerApp believes it no more than a label."""

import json
import socket
from dataclasses import replace

import pytest
from flwr.app.error import Error
from flwr.common import ConfigRecord, Context, Message, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from oneflower.flower.arguments import client_name
from oneflower.flower.client_mark import ClientMark, Report, mark_reply, raised_reply, take_mark
from oneflower.foreign_text import shown
from oneflower.gpu.readings import Reading, record_of, text_of


def asked(**config):
    message = Message(
        RecordDict({"config": ConfigRecord({"server-round": 1, "seed": 1, **config})}), 1, "train"
    )
    message.metadata.__dict__["_src_node_id"] = 2
    return message


def context_of(**node):
    config = {key.replace("_", "-"): value for key, value in node.items()}
    return Context(run_id=1, node_id=1, node_config=config, state=RecordDict(), run_config={})


def answer(message, **content):
    return Message(RecordDict({"metrics": MetricRecord({"a": 1}), **content}), reply_to=message)


def test_a_reply_says_the_name_and_the_partition_and_is_as_before_when_they_are_taken():
    message = asked()
    reply = answer(message)
    mark_reply(reply, context_of(client_name="supernode-3", partition_id=3), Report())
    assert take_mark(reply) == ClientMark(name="supernode-3", partition=3)
    assert list(reply.content) == ["metrics"]
    assert take_mark(reply) == ClientMark()


def test_without_a_name_of_its_own_it_is_its_machine():
    message = asked()
    reply = answer(message)
    mark_reply(reply, context_of(), Report())
    assert take_mark(reply) == ClientMark(name=socket.gethostname())


def test_an_exception_says_it_in_its_reason_which_is_flowers_own_afterwards():
    reply = raised_reply(
        ValueError("bad\ndata"), asked(), context_of(client_name="a", partition_id=0), Report(), ours=True
    )
    assert take_mark(reply) == ClientMark(name="a", partition=0)
    assert reply.error.reason == "<class 'ValueError'>:<'bad\ndata'>"


@pytest.mark.deployed
@pytest.mark.parametrize("text", ["bad\ndata", "A" * 20_000_000, "\x1b" * 5000])
def test_the_mark_of_an_error_arrives_through_a_superlink_that_escapes_reasons(text):
    from oneflower.flower.v1_25.fleet_limits import MAX_REASON

    gpu = Reading(index=0, instance=7, name="N" * 64, xids=dict.fromkeys((31, 43, 79, 119), 1_000_000))
    gpus = gpu, replace(gpu, index=15)
    report = Report(device="D" * 64, failed_gpus=list(map(record_of, gpus)))
    node = context_of(client_name="a" * 64, partition_id=2**31 - 1)
    reply = raised_reply(ValueError(text), asked(), node, report, ours=True)
    reply.error = Error(code=reply.error.code, reason=shown(reply.error.reason, MAX_REASON))
    assert take_mark(reply) == ClientMark(name="a" * 64, partition=2**31 - 1, device="D" * 64, gpus=gpus)
    assert reply.error.reason.isprintable()
    assert "oneflower-client" not in reply.error.reason


@pytest.mark.parametrize(
    "values",
    [
        {"name": "\x1b]0;evil\x07"},
        {"name": "x" * 65},
        {"name": 7, "partition": "0"},
        {"name": ["a"], "partition": True},
        {"partition": -1, "state": "x"},
        {"partition": 2**40},
        {"name": "supernode-0 "},
        {"name": "supernode-1\u034f"},
        {"name": "a reason=ok round=99 client=supernode-1"},
        {},
    ],
)
def test_what_an_attacker_says_of_itself_is_no_name(values):
    reply = answer(asked(), **{"oneflower-client": ConfigRecord(values)})
    assert take_mark(reply) == ClientMark()
    assert list(reply.content) == ["metrics"]


@pytest.mark.parametrize("line", ["{", "[]", "7", '"a"', "null", '{"name": {}}', "[" * 100_000])
def test_a_mark_that_is_no_mark_leaves_the_reason(line):
    reply = Message(Error(code=1, reason=f"no\noneflower-client {line}"), reply_to=asked())
    assert take_mark(reply) == ClientMark()
    assert reply.error.reason == "no"


def test_an_error_without_a_mark_stays_as_it_is():
    reply = Message(Error(code=1, reason="no"), reply_to=asked())
    assert take_mark(reply) == ClientMark()
    assert reply.error.reason == "no"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("supernode_0_(service_7)", "supernode_0_service_7"),
        ("a b' \"c", "a-b-c"),
        ("Hörsaal", "H-rsaal"),
        ("", ""),
        ("x" * 100, "x" * 64),
    ],
)
def test_the_name_of_a_vm_becomes_one_that_a_node_config_can_hold(text, name):
    assert client_name(text) == name


# --- GPUs ----------------------------------------------------------------------------------------------


def test_a_reply_says_what_its_gpus_measured():
    gpus = Reading(index=0, name="NVIDIA H200", utilisation=0.5), Reading(index=1, ecc_errors=2)
    reply = answer(asked())
    report = Report(device="NVIDIA H200", gpus=text_of(gpus))
    mark_reply(reply, context_of(client_name="a"), report)
    assert take_mark(reply) == ClientMark(name="a", device="NVIDIA H200", gpus=gpus)


def test_without_gpus_a_mark_is_as_before():
    reply = answer(asked())
    mark_reply(reply, context_of(client_name="a", partition_id=1), Report())
    said = set(reply.content["oneflower-client"])
    assert said == {"state", "keeps_state", "state_of", "name", "named", "partition"}
    error = raised_reply(ValueError(), asked(), context_of(client_name="a"), Report(), ours=True)
    assert json.loads(error.error.reason.partition("oneflower-client ")[2]) == {"name": "a", "named": True}


VALUES = st.one_of(
    st.text(max_size=80),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.booleans(),
    st.binary(max_size=8),
    st.lists(st.text(max_size=3), max_size=3),
    st.sampled_from(
        [
            '[{"index": 0, "utilisation": NaN, "power_w": 1e999, "xids": {"31": 18446744073709551616}}]',
            '[{"index": 18446744073709551616}]',
            "[" + "9" * 5000 + "]",
            "[" * 20_000,
            '[{"index": 0, "name": "\\u001b[2J"}]',
        ]
    ),
)


@given(st.dictionaries(st.sampled_from(["device", "gpus", "name", "partition", "state_of"]), VALUES))
def test_whatever_a_client_says_of_its_gpus_is_a_mark(values):
    reply = answer(asked(), **{"oneflower-client": ConfigRecord(values)})
    mark = take_mark(reply)
    assert len(mark.device) <= 64
    assert mark.device.isprintable()
    assert all(each.name.isprintable() and each.power_w is None for each in mark.gpus)
    failed = Message(Error(code=1, reason="no\noneflower-client " + text_of(mark.gpus)), reply_to=asked())
    assert take_mark(failed) == ClientMark()


@given(st.text(max_size=200))
def test_whatever_stands_in_a_reason_is_a_mark(text):
    whole = '{"device": "cpu", "gpus": ' + text + "}"
    reply = Message(Error(code=1, reason=f"no\noneflower-client {whole}"), reply_to=asked())
    take_mark(reply)
