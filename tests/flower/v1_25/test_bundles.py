"""Small objects are attached to a message as fields that Flower passes over."""

import hashlib

import pytest
from flwr.proto.fleet_pb2 import PullMessagesRequest, PushMessagesRequest
from flwr.proto.node_pb2 import Node
from hypothesis import given
from hypothesis import strategies as st

from oneflower.flower.v1_25 import bundles
from oneflower.flower.v1_25.bundles import (
    MESSAGE_BYTES,
    MESSAGE_OBJECTS,
    OBJECT_BYTES,
    OBJECT_FIELD,
    ask,
    asks,
    attach,
    attached,
    detached,
)


def named(*contents):
    return [(hashlib.sha256(each).hexdigest(), each) for each in contents]


def request():
    return PushMessagesRequest(node=Node(node_id=7), clientapp_runtime_list=[0.5])


@given(st.lists(st.binary(max_size=300), max_size=20, unique=True))
def test_what_is_attached_is_found_after_the_way_over_the_network(contents):
    sent = request()
    attach(sent, named(*contents))
    came = PushMessagesRequest.FromString(sent.SerializeToString())
    assert attached(came) == dict(named(*contents))
    assert came.node.node_id == 7
    assert detached(came) == dict(named(*contents))
    assert came == request()
    assert attached(came) == {}


def test_what_is_large_stays_behind():
    sent = request()
    attach(sent, named(b"a" * OBJECT_BYTES, b"b" * (OBJECT_BYTES + 1), b"c"))
    assert [len(each) for each in attached(sent).values()] == [OBJECT_BYTES, 1]


def test_of_one_message_so_much_is_attached():
    sent = request()
    attach(sent, named(*(bytes([number]) * OBJECT_BYTES for number in range(9))))
    assert sum(map(len, attached(sent).values())) == MESSAGE_BYTES
    many = request()
    attach(many, named(*(number.to_bytes(2, "big") for number in range(999))))
    assert len(attached(many)) == MESSAGE_OBJECTS


def test_who_asks_is_known():
    asking = PullMessagesRequest(node=Node(node_id=7))
    assert not asks(asking)
    ask(asking)
    came = PullMessagesRequest.FromString(asking.SerializeToString())
    assert asks(came)
    assert came.node.node_id == 7


def test_a_large_request_of_a_stranger_is_not_looked_at(monkeypatch):
    sent = request()
    attach(sent, named(b"a" * 200))
    ask(sent)
    monkeypatch.setattr(bundles, "REQUEST_BYTES", 100)
    assert not asks(sent)
    assert detached(sent) == {}
    assert sent == request()


@pytest.mark.parametrize(
    "field",
    [
        bytes([0xF8, 0x07, 1]),  # field 127: a number,
        bytes([0xFA, 0x07, 0]),  # bytes,
        bytes([0xFD, 0x07, 1, 2, 3, 4]),  # four bytes
        bytes([0xFB, 0x07, 0xFC, 0x07]),  # and a group
    ],
)
def test_of_many_fields_of_a_stranger_the_first_are_looked_at(field, monkeypatch):
    """A request that was searched to its end held up all others for half a second."""
    looked, original = [], bundles._number_at

    def noting(data, at):
        looked.append(at)
        return original(data, at)

    sent = request()
    sent.MergeFromString(field * 20_000)
    attach(sent, named(b"a"))
    ask(sent)
    monkeypatch.setattr(bundles, "_number_at", noting)
    assert not asks(sent)
    assert detached(sent) == {}
    assert len(looked) < 400
    assert sent == request()


def test_fields_of_every_kind_are_passed_over():
    sent = request()
    sent.MergeFromString(
        bytes([0xF9, 0x07, *range(8), 0xFD, 0x07, *range(4), 0xF8, 0x07, 0xFF, 0x01, 0xFA, 0x07, 1, 9])
    )
    attach(sent, named(b"a"))
    ask(sent)
    assert asks(sent)
    assert attached(sent) == dict(named(b"a"))


def test_what_has_room_is_read_and_no_more():
    read = []

    def contents():
        for number in range(200):
            read.append(number)
            yield named(number.to_bytes(2, "big"))[0]

    assert len(attach(request(), contents())) == MESSAGE_OBJECTS == len(read)


@pytest.mark.parametrize("content", [b"\xff\xff", b"\x0a\x02\xff\xfe", b"\x0a\x40"])
def test_an_object_that_cannot_be_read_is_passed_over(content):
    sent = request()
    key = OBJECT_FIELD << 3 | 2
    field = bytes([key & 0x7F | 0x80, key >> 7 & 0x7F | 0x80, key >> 14])
    sent.MergeFromString(field + bytes([len(content)]) + content)
    attach(sent, named(b"a"))
    assert attached(sent) == dict(named(b"a"))
