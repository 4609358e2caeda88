"""Build a reply from the objects that its client has sent, and believe none of them.

Flower's own `inflate` trusts what it reads: any object may be of any class, a chunk may be listed a thousand
times, and whatever does not fit raises. A reply has one form only, a message of records of arrays of chunks,
which is read here level by level. Sizes are compared with the limits before any memory is taken for them.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from flwr.app import Array, ArrayRecord, ConfigRecord, Error, MetricRecord, RecordDict
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.message_pb2 import ObjectTree

from oneflower.codes import LeftOutCode
from oneflower.flower.api import SType
from oneflower.flower.private import PrivateUse
from oneflower.flower.refusals import LONGEST_NAME, MOST_METRICS, MOST_NUMBERS, Limits, ReplyRefusedError

Record = ArrayRecord | MetricRecord | ConfigRecord
Store = Callable[[Iterable[memoryview], int], Any]
"""Takes the parts of an array one after the other, and about how many bytes; returns them as one."""
RECORDS: Final = ("ArrayRecord", "MetricRecord", "ConfigRecord")

DEEPEST: Final = 5
"""Message, records, arrays, array, chunk."""
_DIVIDER: Final = b"\0"
_ID_LENGTH: Final = 64
_MOST_RECORDS: Final = 64
_MOST_DIMENSIONS: Final = 64
CHUNK_BYTES: Final = 20 << 20  # as large as Flower makes them
_ARRAY_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class _Part:
    """One object: its kind, the ids of its children in the order of its head, and its body."""

    kind: str
    children: tuple[str, ...]
    body: memoryview


def object_ids(tree: ObjectTree, limits: Limits) -> list[str]:
    """Return the id of every object of a tree, each once.

    Raises
    ------
    ReplyRefusedError
        The tree is deeper than a reply, or has more objects than the limit.
    """
    found: dict[str, None] = {}
    level, listed = [tree], 0
    for _ in range(DEEPEST):
        listed += len(level)
        found.update((node.object_id, None) for node in level)
        below = listed + sum(len(node.children) for node in level)
        if below > limits.objects:
            _too_large("objects", below, limits.objects)
        level = [child for node in level for child in node.children]
        if not level:
            return list(found)
    raise ReplyRefusedError(
        f"the reply's objects are nested more than {DEEPEST} deep; expected a message of records"
    )


def chunk_ids(tree: ObjectTree) -> list[str]:
    """Return the ids of the chunks of arrays, each once, in the order of the tree that `object_ids` read."""
    level = [tree]
    for _ in range(DEEPEST - 1):
        level = [child for node in level for child in node.children]
    return list(dict.fromkeys(node.object_id for node in level))


def inflate(
    message_id: str, contents: MutableMapping[str, bytes], limits: Limits, store: Store | None = None
) -> RecordDict | Error:
    """Return the content of a reply, or the error that its client has sent.

    Parameters
    ----------
    contents
        Every object by its id. What has been read is taken out, so that its memory is free.
    store
        Where the bytes of arrays go; None for memory.

    Raises
    ------
    ReplyRefusedError
        It is not of a reply's form, or holds more than the limits. Whatever else a client can cause, such as
        a ValueError, a RecursionError or a MemoryError, is for the caller to catch.
    """
    sizes = sum(map(len, contents.values()))
    if sizes > limits.num_bytes:
        _too_large("bytes", sizes, limits.num_bytes)
    return _Inflation(contents, limits, store).message(message_id)


class _Inflation:
    def __init__(self, contents: MutableMapping[str, bytes], limits: Limits, store: Store | None) -> None:
        self._contents = contents
        self._store = store
        self._limits = limits
        self._array_bytes = 0
        self._listed = 0

    def message(self, message_id: str) -> RecordDict | Error:
        head = self._part(message_id, "Message")
        body = ProtoMessage.FromString(bytes(self._bounded(head.body, self._limits.record_bytes, "message")))
        if body.HasField("error"):
            return Error(code=body.error.code, reason=body.error.reason or None)
        if len(head.children) != 1:
            raise ReplyRefusedError(f"the reply has {len(head.children)} contents; expected one")
        return self._records(head.children[0])

    def _records(self, object_id: str) -> RecordDict:
        part = self._part(object_id, "RecordDict")
        names = self._names(part, _MOST_RECORDS)
        parts = {each: self._part(each, *RECORDS) for each in dict.fromkeys(names.values())}
        of_arrays = {
            each: self._names(record, self._limits.objects)
            for each, record in parts.items()
            if record.kind == "ArrayRecord"
        }
        arrays = self._arrays(of_arrays.values())
        records: dict[str, Record] = {
            each: _record({name: arrays[key] for name, key in of_arrays[each].items()})
            if each in of_arrays
            else self._values(each, record)
            for each, record in parts.items()
        }
        return RecordDict({name: records[each] for name, each in names.items()})

    def _values(self, object_id: str, part: _Part) -> MetricRecord | ConfigRecord:
        self._bounded(part.body, self._limits.record_bytes, "record")
        kind = MetricRecord if part.kind == "MetricRecord" else ConfigRecord
        record: MetricRecord | ConfigRecord = kind.inflate(self._contents[object_id])
        _check_values(record)
        return record

    def _arrays(self, records: Iterable[Mapping[str, str]]) -> dict[str, Array]:
        """Return every array of some records by its id; arrays and chunks may be shared."""
        ids = dict.fromkeys(each for names in records for each in names.values())
        parts = {each: self._part(each, "Array") for each in ids}
        users = Counter(chunk for part in parts.values() for chunk in set(part.children))
        return {each: self._array(part, users) for each, part in parts.items()}

    def _array(self, part: _Part, users: Counter[str]) -> Array:
        form = _json(self._bounded(part.body, _ARRAY_BYTES, "array"))
        dtype, shape, stype, order = (form[key] for key in ("dtype", "shape", "stype", "arraychunk_ids"))
        if not (_is_word(dtype) and _is_word(stype) and _is_counts(shape) and len(shape) <= _MOST_DIMENSIONS):
            raise ReplyRefusedError("an array is not described by a dtype, a shape and a serialisation")
        if not _is_counts(order) or any(number >= len(part.children) for number in order):
            raise ReplyRefusedError(f"an array of {len(part.children)} chunks lists others")
        if self._store is not None and stype == SType.NUMPY and order:
            array = Array(dtype=dtype, shape=tuple(shape), stype=stype, data=b"")
            array.data = self._store(self._listed_chunks(part, order), len(order) * CHUNK_BYTES)
            return array
        chunks = {each: self._part(each, "ArrayChunk").body for each in part.children}
        listed = [chunks[part.children[number]] for number in order]
        self._array_bytes += sum(map(len, listed))
        if self._array_bytes > self._limits.num_bytes:
            _too_large("bytes of arrays", self._array_bytes, self._limits.num_bytes)
        data = b"".join(listed)
        self._release(chunks, users)
        return Array(dtype=dtype, shape=tuple(shape), stype=stype, data=data)

    def _listed_chunks(self, part: _Part, order: Sequence[int]) -> Iterator[memoryview]:
        """Yield the chunks of an array one after the other; one that comes twice in a row is read once."""
        for number, following in zip(order, [*order[1:], -1], strict=True):
            body = self._part(part.children[number], "ArrayChunk").body
            self._array_bytes += len(body)
            if self._array_bytes > self._limits.num_bytes:
                _too_large("bytes of arrays", self._array_bytes, self._limits.num_bytes)
            yield body
            del body
            if following != number:
                self._contents.pop(part.children[number], None)

    def _release(self, chunks: dict[str, memoryview], users: Counter[str]) -> None:
        """Give up the chunks that no other array shares; a large model is not held twice."""
        for each in chunks:
            users[each] -= 1
            if not users[each]:
                self._contents.pop(each, None)

    def _names(self, part: _Part, most: int) -> dict[str, str]:
        """Return which child stands under which name, in the order of the record."""
        names = _json(self._bounded(part.body, self._limits.list_bytes, "list"))
        self._listed += len(names)
        if len(names) > most or self._listed > self._limits.objects:
            _too_large("names", max(len(names), self._listed), min(most, self._limits.objects))
        children = set(part.children)
        if any(not isinstance(each, str) or each not in children for each in names.values()):
            raise ReplyRefusedError(f"a {part.kind} names an object that is not among its children")
        if any(len(name) > LONGEST_NAME for name in names):
            raise ReplyRefusedError(f"a name in a {part.kind} is longer than {LONGEST_NAME} characters")
        return names

    def _part(self, object_id: str, *kinds: str) -> _Part:
        content = self._contents.get(object_id)
        if content is None:
            raise ReplyRefusedError(f"an object is missing; expected {' or '.join(kinds)}")
        most = 128 + (_ID_LENGTH + 1) * self._limits.objects
        end = content.find(_DIVIDER, 0, most)
        words = content[: max(0, end)].decode("ascii", "replace").split(" ")
        if len(words) != 3 or words[0] not in kinds:
            raise ReplyRefusedError(f"an object is a {words[0][:40]!r}; expected {' or '.join(kinds)}")
        kind, children, length = words
        body = memoryview(content)[end + 1 :]
        if length != str(len(body)):
            raise ReplyRefusedError(f"a {kind} says {length[:20]!r} bytes and has {len(body)}")
        return _Part(kind, tuple(children.split(",")) if children else (), body)

    def _bounded(self, body: memoryview, most: int, what: str) -> memoryview:
        if len(body) > most:
            _too_large(f"bytes in one {what}", len(body), most)
        return body


def _record(arrays: Mapping[str, Array]) -> ArrayRecord:
    record = ArrayRecord()
    record.update(arrays)  # Flower's constructor takes none that is in a file
    return record


def _too_large(what: str, given: int, most: int) -> NoReturn:
    raise ReplyRefusedError(f"the reply has {given} {what}; at most {most} are read", LeftOutCode.TOO_LARGE)


def _json(body: memoryview) -> dict[str, Any]:
    found = json.loads(bytes(body))
    if not isinstance(found, dict):
        raise ReplyRefusedError(f"a list of names is a {type(found).__name__}; expected a JSON object")
    return found


def _is_word(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _ID_LENGTH and value.isprintable()


def _is_counts(value: object) -> bool:
    return isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)


def _check_values(record: MetricRecord | ConfigRecord) -> None:
    if len(record) > MOST_METRICS:
        _too_large("values in one record", len(record), MOST_METRICS)
    numbers = sum(len(each) for each in record.values() if isinstance(each, list))
    if numbers > MOST_NUMBERS:
        _too_large("values in lists", numbers, MOST_NUMBERS)
    for name in record:
        if len(name) > LONGEST_NAME or not name.isprintable():
            raise ReplyRefusedError(f"the name of a value is {name[:40]!r}; expected printable text")


USE = PrivateUse(
    name="inflating",
    why="Read the objects of a reply: Flower's own `inflate` raises on what a client made up, and takes "
    "memory on its word.",
    sources={
        "flwr.proto.message_pb2": {
            "Message": "608e62bf8a0f",
            "ObjectTree": "7ec5ec452c01",
        },
        "flwr.common.record.metricrecord": {
            "MetricRecord.inflate": "5f052931ccf6",
        },
        "flwr.common.record.configrecord": {
            "ConfigRecord.inflate": "ab0a5d9b359f",
        },
        "flwr.common.message": {
            "Message.inflate": "f7b2e3217d36",
        },
        "flwr.common.record.array": {
            "Array.inflate": "a7afff3a6fd5",
        },
        "flwr.common.record.arrayrecord": {
            "ArrayRecord.inflate": "dcee14ef98a8",
        },
        "flwr.common.record.recorddict": {
            "RecordDict.inflate": "cbd183d3820a",
        },
        "flwr.common.record.arraychunk": {"ArrayChunk.inflate": "60afa91e51f7"},
        "flwr.common.inflatable": {
            "add_header_to_object_body": "1f676c89981c",
            "get_object_id": "1c9d6716beb1",
        },
        "flwr.common.constant": {
            "SType": "8e395c3827e6",
            "HEAD_BODY_DIVIDER": "a2370e003d41",
            "HEAD_VALUE_DIVIDER": "36a9e7f1c95b",
        },
    },
)
