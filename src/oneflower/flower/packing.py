"""Pack the small arrays of a message into one: Flower makes each array two objects with a call each.

A call takes milliseconds, so a model of 300 small arrays took 8 s a round, and one array of the same size
half a second. Here the small arrays of a record become one, which lists their names, types and shapes, and is
unpacked at the other end. The values are the same bytes.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from oneflower.flower.api import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict

SMALL_BYTES: Final = 1 << 20
"""Below this size an array's calls cost more than its bytes."""
FEWEST: Final = 16
"""A record with fewer small arrays is sent as it is."""
PACKED: Final = "oneflower-packed"
"""The name of the array that holds the small ones."""
_FORMAT: Final = "oneflower.arrays.1"
_LENGTH_BYTES: Final = 8
_GREETING: Final = "oneflower-packing"

Call = Callable[[Message, Context], Message]
Together = Callable[[ArrayRecord], ArrayRecord | None]


class PackingError(ValueError):
    """A packed array is not as `pack` makes it."""


def pack(content: RecordDict, together: Together | None = None) -> RecordDict | None:
    """Return the content with its small arrays packed; None where that is not worth it.

    ``together`` replaces `packed_record` where what was packed is to be remembered.
    """
    together = together or packed_record
    packed = {name: together(record) for name, record in content.array_records.items()}
    if not any(packed.values()):
        return None
    return RecordDict({name: packed.get(name) or record for name, record in content.items()})


def packed_record(record: ArrayRecord) -> ArrayRecord | None:
    """Return a record whose small arrays are one; None where there are few of them."""
    small = {name: array for name, array in record.items() if len(array.data) < SMALL_BYTES}
    if len(small) < FEWEST or PACKED in record:
        return None
    index = [
        [name, array.dtype, list(array.shape), array.stype, len(array.data)] if name in small else [name]
        for name, array in record.items()
    ]
    head = json.dumps(index).encode()
    data = b"".join(
        [len(head).to_bytes(_LENGTH_BYTES, "big"), head, *(array.data for array in small.values())]
    )
    together = Array(dtype="uint8", shape=(len(data),), stype=_FORMAT, data=data)
    rest = {name: array for name, array in record.items() if name not in small}
    return ArrayRecord({**rest, PACKED: together})


def unpack(content: RecordDict, *, longest_index: int | None = None) -> bool:
    """Put the small arrays back in their places; return whether there were any.

    Parameters
    ----------
    longest_index
        The most bytes of the list of what was packed. A server knows how long its own was.

    Raises
    ------
    PackingError
        The packed arrays and their list do not match, or the list is too long; nothing was changed.
    """
    plain = {
        name: _plain(record, longest_index)
        for name, record in content.array_records.items()
        if _is_packed(record)
    }
    for name, record in plain.items():
        content[name] = record
    return bool(plain)


def answer(call: Call, message: Message, context: Context) -> Message:
    """Call a ClientApp as if nothing were packed; a reply to a packed message is packed, too."""
    if is_greeting(message):
        return Message(RecordDict({_GREETING: ConfigRecord({"format": _FORMAT})}), reply_to=message)
    was_packed = message.has_content() and unpack(message.content)
    reply = call(message, context)
    packed = pack(reply.content) if was_packed and reply.has_content() else None
    if packed is not None:
        reply.content = packed
    return reply


def greeting(node_id: int) -> Message:
    """Ask a node whether it can unpack; one without this module replies with an error of its app."""
    content = RecordDict({_GREETING: ConfigRecord({"format": _FORMAT})})
    return Message(content, node_id, MessageType.QUERY)


def is_greeting(message: Message) -> bool:
    """Return whether a message, or a reply, is that of `greeting`, in the format of this version."""
    if not message.has_content() or set(message.content) != {_GREETING}:
        return False
    record = message.content[_GREETING]
    return isinstance(record, ConfigRecord) and record.get("format") == _FORMAT


def _is_packed(record: ArrayRecord) -> bool:
    return PACKED in record and record[PACKED].stype == _FORMAT


def index_bytes(record: ArrayRecord) -> int:
    """Return how long the list of a packed record is; 0 for one that is not packed."""
    return _index_length(record[PACKED].data) if _is_packed(record) else 0


def _plain(record: ArrayRecord, longest_index: int | None) -> ArrayRecord:
    rest = {name: array for name, array in record.items() if name != PACKED}
    try:
        data = record[PACKED].data
        arrays = dict(_unpacked(data, rest, longest_index))
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise PackingError(f"the packed arrays cannot be unpacked: {error!r}") from error
    if rest:
        raise PackingError("there are arrays beside the packed ones that their list does not name")
    return ArrayRecord(arrays)


def _index_length(data: bytes) -> int:
    return int.from_bytes(data[:_LENGTH_BYTES], "big")


def _unpacked(data: bytes, rest: dict[str, Array], longest_index: int | None) -> Iterator[tuple[str, Array]]:
    length = _index_length(data)
    if longest_index is not None and length > longest_index:
        raise ValueError(f"a list of {length} bytes; at most {longest_index} are read")
    at = _LENGTH_BYTES + length
    if not _LENGTH_BYTES <= at <= len(data):
        raise ValueError(f"a list of {at - _LENGTH_BYTES} bytes in {len(data)}")
    index: list[list[Any]] = json.loads(data[_LENGTH_BYTES:at])
    names = [entry[0] for entry in index]
    if len(set(names)) < len(names):
        raise ValueError("a name is twice in the list")
    for name, *form in index:
        if not form:
            yield name, rest.pop(name)
            continue
        dtype, shape, stype, size = form
        if type(size) is not int or not 0 <= size <= len(data) - at:
            raise ValueError(f"array {name!r} of {size!r} bytes, {len(data) - at} are left")
        yield name, Array(dtype=dtype, shape=tuple(shape), stype=stype, data=data[at : at + size])
        at += size
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes too many")
