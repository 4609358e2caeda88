"""Small objects travel with the message that they belong to, in place of a call for each of them.

A message has five objects and more, most of them of a few hundred bytes: its head, records, forms of arrays.
They are attached to a request or a response of Flower's as a field that Flower does not know, and passes
over. Whoever does not attach, or does not look, sends and fetches objects one by one as before.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from flwr.common.inflatable import get_all_nested_objects
from flwr.common.record.arraychunk import ArrayChunk
from flwr.proto.message_pb2 import PushObjectRequest
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from oneflower.flower.private import PrivateUse

OBJECT_BYTES: Final = 16_384
"""A larger object has a call of its own."""
MESSAGE_BYTES: Final = 65_536
MESSAGE_OBJECTS: Final = 64
"""Of one message at most so much is attached."""
RESPONSE_OBJECTS: Final = 4_096
"""Of one response to a ServerApp, which asks for the replies of all nodes."""
REQUEST_BYTES: Final = 262_144
"""What a stranger attaches to a larger request is not looked at: it would be counted field by field."""

OBJECT_FIELD: Final = 20_004
ASKED_FIELD: Final = 20_005
_BYTES, _NUMBER = 2, 0  # wire types of protocol buffers


def attach(message: Any, contents: Iterable[tuple[str, bytes]]) -> None:
    """Attach the small ones among the contents of objects, by their ids, as far as there is room."""
    parts: list[bytes] = []
    left = MESSAGE_BYTES
    for object_id, content in contents:
        if len(content) > min(OBJECT_BYTES, left) or len(parts) == MESSAGE_OBJECTS:
            continue
        left -= len(content)
        each = PushObjectRequest(object_id=object_id, object_content=content).SerializeToString()
        parts.append(_varint(OBJECT_FIELD << 3 | _BYTES) + _varint(len(each)) + each)
    message.MergeFromString(b"".join(parts))


def attached(message: Any, *, most: int = MESSAGE_OBJECTS) -> dict[str, bytes]:
    """Return the contents that are attached to a message, by the ids of their objects.

    Nothing is compared: whoever stores a content compares it with its id.
    """
    found = {}
    for count, field in enumerate(UnknownFieldSet(message)):
        if count >= most:
            break
        if field.field_number == OBJECT_FIELD and field.wire_type == _BYTES:
            try:
                each = PushObjectRequest.FromString(field.data)
            except DecodeError:
                continue
            found[each.object_id] = each.object_content
    return found


def detached(request: Any) -> dict[str, bytes]:
    """Take off what a stranger attached to a request, and return it; nothing where the request is large."""
    found = attached(request) if request.ByteSize() <= REQUEST_BYTES else {}
    request.DiscardUnknownFields()
    return found


def ask(request: Any) -> None:
    """Say in a request that its caller looks for what is attached to the response."""
    request.MergeFromString(_varint(ASKED_FIELD << 3 | _NUMBER) + b"\1")


def asks(request: Any) -> bool:
    """Whether the caller looks for what is attached to the response."""
    fields = UnknownFieldSet(request) if request.ByteSize() <= REQUEST_BYTES else ()
    return any(
        field.field_number == ASKED_FIELD for _, field in zip(range(MESSAGE_OBJECTS), fields, strict=False)
    )


def small_objects(message: Any, known: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Yield the objects of a message that may be attached, without those that are known."""
    for object_id, part in get_all_nested_objects(message).items():
        large = isinstance(part, ArrayChunk) and len(part.data) > OBJECT_BYTES
        if object_id not in known and not large:
            yield object_id, part.deflate()


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
