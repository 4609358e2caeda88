"""Small objects travel with the message that they belong to, in place of a call for each of them.

A message has five objects and more, most of them of a few hundred bytes: its head, records, forms of arrays.
They are attached to a request or a response of Flower's as a field that Flower does not know, and passes
over. Whoever does not attach, or does not look, sends and fetches objects one by one as before.
"""

from collections.abc import Container, Iterable, Iterator
from itertools import islice
from typing import Any, Final

from flwr.common.inflatable import get_all_nested_objects
from flwr.common.record.arraychunk import ArrayChunk
from flwr.proto.message_pb2 import PushObjectRequest
from google.protobuf.message import DecodeError

from oneflower.flower.private import PrivateUse

OBJECT_BYTES: Final = 16_384
"""A larger object has a call of its own."""
MESSAGE_BYTES: Final = 65_536
MESSAGE_OBJECTS: Final = 64
"""Of one message at most so much is attached."""
RESPONSE_OBJECTS: Final = 4_096
"""Of one response to a ServerApp, which asks for the replies of all nodes."""
REQUEST_BYTES: Final = 262_144
"""What a stranger attaches to a larger request is not looked at."""
KNOWN_FIELDS: Final = 8
"""A request of a SuperNode has fewer fields that Flower knows; they come first."""
LOOKED_AT: Final = 256
"""So many objects of the messages of one request are written to see how large they are."""

OBJECT_FIELD: Final = 20_004
ASKED_FIELD: Final = 20_005
PART_FIELD: Final = 20_006
TOKEN: Final = "token"  # noqa: S105 - a name
INPUTS: Final = "inputs"
OUTPUTS: Final = "outputs"
"""Names of what a SuperNode and its executor enclose: the answers to RequestToken and PullClientAppInputs,
and the request of PushClientAppOutputs, which the SuperNode returns empty when it has carried it out."""
_NUMBER, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5  # wire types of protocol buffers


def attach(message: Any, contents: Iterable[tuple[str, bytes]]) -> list[str]:
    """Attach the small ones among the contents of objects until there is no more room; return their ids."""
    parts: dict[str, bytes] = {}
    left = MESSAGE_BYTES
    for object_id, content in contents:
        if len(content) > min(OBJECT_BYTES, left):
            continue
        left -= len(content)
        parts[object_id] = _written(OBJECT_FIELD, object_id, content)
        if len(parts) == MESSAGE_OBJECTS or not left:
            break
    message.MergeFromString(b"".join(parts.values()))
    return list(parts)


def attached(message: Any, *, most: int = MESSAGE_OBJECTS + KNOWN_FIELDS) -> dict[str, bytes]:
    """Return the contents that are attached to a message, by the ids of their objects.

    The first `most` fields are looked at. Nothing is compared: whoever stores a content compares it with its
    id.
    """
    return _read(OBJECT_FIELD, message, most)


def detached(request: Any) -> dict[str, bytes]:
    """Take off what a stranger attached to a request, and return it; nothing where the request is large."""
    found = attached(request) if request.ByteSize() <= REQUEST_BYTES else {}
    request.DiscardUnknownFields()
    return found


def enclose(message: Any, name: str, part: bytes) -> None:
    """Put into a message what another call would have carried, under a name."""
    message.MergeFromString(_written(PART_FIELD, name, part))


def enclosed(message: Any) -> dict[str, bytes]:
    """Return what is enclosed in a message of this machine, by name."""
    return _read(PART_FIELD, message, MESSAGE_OBJECTS + KNOWN_FIELDS)


def ask(request: Any) -> None:
    """Say in a request that its caller looks for what is attached to the response."""
    request.MergeFromString(_varint(ASKED_FIELD << 3 | _NUMBER) + b"\1")


def asks(request: Any) -> bool:
    """Whether the caller looks for what is attached to the response."""
    if request.ByteSize() > REQUEST_BYTES:
        return False
    fields = islice(_fields(request.SerializeToString()), MESSAGE_OBJECTS)
    return any(number == ASKED_FIELD for number, _, _ in fields)


def small_objects(messages: Iterable[Any], known: Container[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the objects of messages that may be attached, each once, without those that are known."""
    seen: set[str] = set()
    for message in messages:
        for object_id, part in get_all_nested_objects(message).items():
            large = isinstance(part, ArrayChunk) and len(part.data) > OBJECT_BYTES
            if object_id in known or object_id in seen or large:
                continue
            if len(seen) == LOOKED_AT:
                return
            seen.add(object_id)
            yield object_id, part.deflate()


def _written(number: int, name: str, content: bytes) -> bytes:
    each: bytes = PushObjectRequest(object_id=name, object_content=content).SerializeToString()
    return _varint(number << 3 | _BYTES) + _varint(len(each)) + each


def _read(wanted: int, message: Any, most: int) -> dict[str, bytes]:
    found = {}
    for number, kind, value in islice(_fields(message.SerializeToString()), most):
        if number == wanted and kind == _BYTES:
            try:
                each = PushObjectRequest.FromString(value)
            except DecodeError:
                continue
            found[each.object_id] = each.object_content
    return found


def _fields(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield number, wire type and value of the fields of a written message, up to a group.

    Protobuf's own UnknownFieldSet makes an object of each field before the first is looked at: half a second
    for the 131,000 that a stranger gets into `REQUEST_BYTES`.
    """
    at = 0
    while at < len(data):
        key, at = _number_at(data, at)
        number, kind = key >> 3, key & 7
        if kind == _NUMBER:
            _, end = _number_at(data, at)
        elif kind == _BYTES:
            length, at = _number_at(data, at)
            end = at + length
        elif kind in {_EIGHT, _FOUR}:
            end = at + (8 if kind == _EIGHT else 4)
        else:
            return
        yield number, kind, data[at:end]
        at = end


def _number_at(data: bytes, at: int) -> tuple[int, int]:
    """Read a varint; return it and where it ends."""
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte <= 0x7F:
            return number, at


def _varint(number: int) -> bytes:
    """Write a number as protocol buffers do: seven bits a byte, the lowest first."""
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


USE = PrivateUse(
    name="bundles",
    why="The objects of a message, and how they are written.",
    sources={
        "flwr.common.inflatable": {"get_all_nested_objects": "409d9822fd87"},
        "flwr.common.record.arraychunk": {"ArrayChunk": "d62339be1378"},
        "flwr.proto.message_pb2": {"PushObjectRequest": "430bd51b8f9d"},
    },
)
