"""What a hostile member can send as a reply: it costs that member its round, and nobody else anything.

The numbers are rows of the list of attacks that worked before. In brackets: what the training did then.
"""

import json
import struct
import time

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.proto.message_pb2 import ObjectTree

from oneflower.codes import LeftOutCode

from .attacker import (
    Made,
    answering,
    array,
    chunk,
    from_flower,
    honest_arrays,
    honest_content,
    metrics,
    record,
    reply,
)

pytestmark = [pytest.mark.attacks, pytest.mark.timeout(600), pytest.mark.xdist_group("attacks-replies")]

# The ServerApp's peak before and after an attack may differ by this; the attack alone would take far more.
MOST_MB = 200


def attack(cluster, attacker, answer, *, replies=2):
    """Let the attacker give this answer to some train messages; return how it was left out."""
    with answering(attacker, answer) as done:
        cluster.wait_until(lambda: len(done) >= replies or done.failed)
        cluster.rounds_after(cluster.last_round, count=1)
    return cluster.left_out(attacker.id, "client_quarantined")


def sent(*children, **metadata):
    """Return an answer that is a message of these hand-made objects."""

    def answer(client, asked):
        client.push(asked, reply(asked, *children, src_node_id=client.id, **metadata))

    return answer


GOOD = metrics(num_examples=10)


def arrays_of(one):
    return record(arrays=record("ArrayRecord", w=one, count=one), metrics=GOOD)


def deep(levels):
    made = chunk(b"x")
    for _ in range(levels):
        made = Made("RecordDict", (made,), json.dumps({"x": made.id}).encode())
    return made


UNREADABLE = {
    "body is no JSON": Made("RecordDict", (GOOD,), b"this is no json"),
    "body is deep JSON": Made("RecordDict", (GOOD,), b"[" * 50_000),
    "body is a list": Made("RecordDict", (GOOD,), b"[1, 2]"),
    "body is a number of 5,000 digits": Made("RecordDict", (GOOD,), b"9" * 5_000),
    "names of no child": Made("RecordDict", (GOOD,), b'{"metrics": "' + b"0" * 64 + b'"}'),
    "metrics are garbage": record(metrics=Made("MetricRecord", (), b"\xff\xff\xff garbage")),
    "a record is an array": record(metrics=array(chunk(b"x"))),
    "an array is a record": record(arrays=record("ArrayRecord", w=GOOD), metrics=GOOD),
    "chunks out of range": arrays_of(array(chunk(b"x"), order=[7])),
    "chunks below zero": arrays_of(array(chunk(b"x"), order=[-1])),
    "shape of another type": arrays_of(array(chunk(b"x"), shape=["8"])),
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_a_reply_that_cannot_be_read_is_quarantined(cluster, attacker, body):
    """Row 1: two of them ended the training in 5 s, and the app was blamed."""
    found = attack(cluster, attacker, sent(body))
    assert len(found) >= 2
    assert {event.code for event in found} == {LeftOutCode.UNREADABLE}
    assert all(len(event.reason) <= 300 for event in found)


def test_objects_that_are_nested_deep_are_refused_at_once(cluster, attacker):
    """The SuperLink failed on their tree whenever it was asked for replies."""

    def answer(client, asked):
        assert not client.try_push(asked, reply(asked, deep(20), src_node_id=client.id))
        client.push_error(asked, "and now an honest failure")

    attack(cluster, attacker, answer)


def test_an_object_that_is_no_message_is_quarantined(cluster, attacker):
    """Its id is that of no object that others send: such a reply the SuperLink refuses."""
    found = attack(
        cluster, attacker, lambda client, asked: client.push(asked, metrics(of=asked.round + 0.25)), replies=3
    )
    assert {event.code for event in found} == {LeftOutCode.UNREADABLE}


def test_a_second_reply_is_refused(cluster, attacker):
    """Row 2: the SuperLink failed whenever it was asked for replies, and the run was lost."""

    def answer(client, asked):
        for loss in range(20):
            content = honest_content(asked, fill=float("nan"), loss=loss)
            made = reply(asked, from_flower(content), src_node_id=client.id)
            assert client.try_push(asked, made) == (loss == 0)

    found = attack(cluster, attacker, answer)
    assert {event.code for event in found} == {LeftOutCode.NOT_FINITE}


@pytest.mark.parametrize("field", ["created_at", "ttl"])
def test_a_time_that_is_no_number_is_refused(cluster, attacker, field):
    """The SuperLink failed on it whenever it was asked for replies: its database had made it NULL."""

    def answer(client, asked):
        made = reply(asked, record(metrics=GOOD), src_node_id=client.id)
        assert not client.try_push(asked, made, wire={field: float("nan")})
        client.push_error(asked, "and now an honest failure")

    attack(cluster, attacker, answer)


TOO_LARGE = {
    "one chunk listed 1,200 times": arrays_of(array(chunk(bytes(1_000_000)), order=[0] * 1_200)),
    "300 objects": record(
        arrays=record("ArrayRecord", **{f"a{i}": array(chunk(b"%d" % i)) for i in range(300)}), metrics=GOOD
    ),
    "100,000 names of one array": Made(
        "RecordDict",
        (from_flower(ArrayRecord({f"n{i}": Array(np.zeros(1, np.float32)) for i in range(1)})),),
        json.dumps({f"n{i}": "0" * 64 for i in range(100_000)}).encode(),
    ),
    "100,000 metrics": record(
        metrics=from_flower(MetricRecord({"num-examples": 1, **{f"m{i}": 1.0 for i in range(100_000)}}))
    ),
    "a list of a million numbers": record(metrics=from_flower(MetricRecord({"many": [1.0] * 1_000_000}))),
}


@pytest.mark.parametrize("body", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_reply_beyond_its_limits_takes_no_memory(cluster, attacker, body):
    """Row 3: one chunk of 1 MB, listed 1,200 times, made 2.2 GB of the ServerApp."""
    serverapp = cluster.serverapp()
    before = cluster.peak_mb(serverapp)
    found = attack(cluster, attacker, sent(body))
    assert {event.code for event in found} == {LeftOutCode.TOO_LARGE}
    assert cluster.serverapp() == serverapp
    assert cluster.peak_mb(serverapp) < before + MOST_MB


def test_a_reply_of_more_bytes_than_its_limit_is_dropped_on_the_way(cluster, attacker):
    """The SuperLink takes no more than a reply may have; without its limit the ServerApp reads no more."""
    serverapp = cluster.serverapp()
    before = cluster.peak_mb(serverapp)
    pieces = [chunk(bytes([i]) * 5_000_000) for i in range(20)]
    body = arrays_of(array(*pieces))

    def answer(client, asked):
        client.try_push(asked, reply(asked, body, src_node_id=client.id))

    attack(cluster, attacker, answer, replies=1)
    assert cluster.left_out(attacker.id)
    assert cluster.peak_mb(serverapp) < before + MOST_MB


@pytest.mark.parametrize(
    "metadata",
    [
        {"src_node_id": "honest"},
        {"src_node_id": 0},
        {"reply_to_message_id": "00" * 32},
        {"message_type": "evaluate"},
        {"message_type": "query"},
        {"group_id": "other"},
        {"run_id": 7},
    ],
    ids=str,
)
def test_what_a_reply_says_of_itself_decides_nothing(cluster, attacker, metadata):
    """Row 16: with a forged sender an honest client was left out and named."""
    honest = next(event.client for event in cluster.events("client_joined"))
    given = {name: int(honest) if value == "honest" else value for name, value in metadata.items()}

    def answer(client, asked):
        content = RecordDict(
            {"arrays": honest_arrays(asked, float("nan")), "metrics": MetricRecord({"num-examples": 1e9})}
        )
        client.push(asked, reply(asked, from_flower(content), **given))

    found = attack(cluster, attacker, answer)
    assert {event.code for event in found} == {LeftOutCode.NOT_FINITE}
    assert not cluster.honest_left_out()


def test_a_padded_header_is_refused_and_not_kept(cluster, attacker):
    """Row 18: 50 MB of blanks in a header stayed in a cache for ever, 48 MB each."""
    serverapp = cluster.serverapp()
    before = cluster.peak_mb(serverapp)

    def answer(client, asked):
        text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (8,), }" + b" " * 20_000_000 + b"\n"
        data = b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text + bytes(32)
        padded = Array(dtype="float32", shape=(8,), stype="numpy.ndarray", data=data)
        arrays = honest_arrays(asked)
        arrays["w"] = padded
        client.push_content(
            asked, RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 1})})
        )

    found = attack(cluster, attacker, answer, replies=4)
    assert {event.code for event in found} == {LeftOutCode.FORM}
    assert cluster.peak_mb(serverapp) < before + MOST_MB


def test_an_array_of_others_cannot_be_registered_with_a_child_that_never_comes(cluster, attacker):
    """Every client sends the same `count`: none of their replies was complete, and no round ended."""

    def answer(client, asked):
        time.sleep(0.1)  # the message's objects are gone, and the honest still train
        count = from_flower(asked.content["arrays"]["count"])
        tree = ObjectTree(object_id=count.id, children=[ObjectTree(object_id="f" * 64)])
        made = reply(asked, record(metrics=GOOD), src_node_id=client.id)
        whole = ObjectTree(object_id=made.id, children=[*made.tree().children, tree])
        client.push(asked, made, tree=whole)

    attack(cluster, attacker, answer, replies=3)
    assert "object was registered with other children" in cluster.log("superlink")


def test_half_a_reply_delays_nobody_for_long(cluster, attacker):
    """Its objects never come. The round has its quorum, and the node turns to its next message."""

    def answer(client, asked):
        client.push_content(asked, honest_content(asked), upload=False)

    attack(cluster, attacker, answer, replies=2)
    assert not cluster.honest_left_out()


@pytest.mark.parametrize("kind", ["evaluate"])
def test_replies_to_an_evaluation_are_as_harmless(cluster, attacker, kind):
    bodies = iter([*UNREADABLE.values(), *TOO_LARGE.values()] * 10)

    def answer(client, asked):
        sent(next(bodies))(client, asked)

    with answering(attacker, answer, kinds=(kind,)) as done:
        cluster.wait_until(lambda: len(done) >= len(UNREADABLE) + len(TOO_LARGE) or done.failed)
        cluster.rounds_after(cluster.last_round, count=1)


def test_nobody_alone_ends_the_evaluation(cluster, attacker):
    """A client that says that its app has no evaluation spoke for all."""

    def answer(client, asked):
        client.push_error(asked, "<class 'ValueError'>:<'No evaluate function registered'>", code=2)

    with answering(attacker, answer, kinds=("evaluate",)) as done:
        cluster.wait_until(lambda: len(done) >= 2)
        cluster.rounds_after(cluster.last_round, count=1)
    assert not cluster.events("evaluation_unavailable")


def test_after_all_of_it_the_model_has_the_bytes_of_the_honest(cluster):
    """The last test of this module: no update of an attacker's is in the model, no run was lost."""
    cluster.check_unharmed()
