"""A reply as bytes on the disk, and back: JSON for its records, raw bytes for its arrays, and a checksum.

Nothing is pickled, and no array is parsed: the bytes are those that the client sent. With FL_CHECKPOINT_KEY
the checksum is one that only the holder of the key can make.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from oneflower.bounded_json import Bounds, parse_json
from oneflower.errors import CheckpointError, ForeignError
from oneflower.flower.api import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

MAGIC: Final = b"OFREPLY1"
SHA256_BYTES: Final = 32
_LENGTH_BYTES: Final = 8
_BOUNDS: Final = Bounds(most_bytes=256 << 20, most_values=4_000_000)
_PURPOSE: Final = b"oneflower recorded reply 1\n"

Content = RecordDict | Error | None
"""What came of a message: the records of the reply, the error in its place, or no reply at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One message's outcome.

    Parameters
    ----------
    node, number : int
        To which node (its stable id), and the how-manieth message to it, from 1.
    digest : str
        Of the message, to see whether the app sends the same again.
    training : str
        To which training the recording belongs.
    """

    node: int
    number: int
    digest: str
    training: str
    content: Content


def encode(kept: Kept, key: str = "") -> bytes:
    """Return the bytes of an outcome; the arrays are copied once."""
    blobs: list[bytes] = []
    head = {
        "node": kept.node,
        "number": kept.number,
        "digest": kept.digest,
        "training": kept.training,
        **_described(kept.content, blobs),
    }
    text = json.dumps(head).encode()
    data = b"".join([MAGIC, len(text).to_bytes(_LENGTH_BYTES, "big"), text, *blobs])
    return data + _checksum(data, key)


def decode(data: bytes, key: str = "") -> Kept:
    """Return the outcome that bytes hold.

    Raises
    ------
    CheckpointError
        They are damaged, or not of this form.
    ForeignError
        They are whole, and not signed with the key.
    """
    body, checksum = data[:-SHA256_BYTES], data[-SHA256_BYTES:]
    if not hmac.compare_digest(checksum, _checksum(body, key)):
        if key and hmac.compare_digest(checksum, _checksum(body, "")):
            raise ForeignError("it is not signed, and FL_CHECKPOINT_KEY is set", word="UNSIGNED")
        raise CheckpointError("its checksum does not match: it is damaged, or signed with another key")
    try:
        return _parsed(body)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise CheckpointError(f"it is no recorded reply: {error!r:.200}") from error


def head_of(data: bytes) -> Mapping[str, Any]:
    """Return the description at the beginning of the bytes; ValueError where there is none."""
    if not data.startswith(MAGIC):
        raise ValueError("it does not begin as a recorded reply")
    begin = len(MAGIC) + _LENGTH_BYTES
    length = int.from_bytes(data[len(MAGIC) : begin], "big")
    head = parse_json(data[begin : begin + length], _BOUNDS)
    if not isinstance(head, dict):
        raise ValueError("its description is no object")  # noqa: TRY004 - one error for all that is malformed
    return head


def message_digest(message: Message, node: int) -> str:
    """Return the SHA-256 of what an app sends to a node: its type, group and records, in their order."""
    digest = hashlib.sha256()
    for part in (node, message.metadata.message_type, message.metadata.group_id):
        digest.update(f"{part}\n".encode())
    for name, record in message.content.items() if message.has_content() else ():
        digest.update(f"{type(record).__name__} {name!r}\n".encode())
        if isinstance(record, ArrayRecord):
            for each, array in record.items():
                form = (each, array.dtype, list(array.shape), array.stype, len(array.data))
                digest.update(f"{form!r}\n".encode())
                digest.update(array.data)
        else:
            digest.update(repr(list(record.items())).encode())
    return digest.hexdigest()


def _checksum(data: bytes, key: str) -> bytes:
    if key:
        return hmac.new(key.encode(), _PURPOSE + data, hashlib.sha256).digest()
    return hashlib.sha256(data).digest()


def _described(content: Content, blobs: list[bytes]) -> dict[str, Any]:
    if content is None:
        return {"reply": None}
    if isinstance(content, Error):
        return {"error": [content.code, content.reason]}
    return {"reply": [[name, *_record(record, blobs)] for name, record in content.items()]}


def _record(record: object, blobs: list[bytes]) -> list[Any]:
    if isinstance(record, ArrayRecord):
        blobs += (array.data for array in record.values())
        return [
            "arrays",
            [[name, a.dtype, list(a.shape), a.stype, len(a.data)] for name, a in record.items()],
        ]
    kind = "metrics" if isinstance(record, MetricRecord) else "config"
    items: Mapping[str, Any] = record  # type: ignore[assignment] # a record is a mapping of its values
    return [kind, [[name, _plain(value)] for name, value in items.items()]]


def _plain(value: Any) -> Any:
    """Return a value as JSON holds it; bytes, which it does not have, as an object."""
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _value(plain: Any) -> Any:
    if isinstance(plain, dict):
        return base64.b64decode(plain["bytes"])
    return [_value(each) for each in plain] if isinstance(plain, list) else plain


def _parsed(body: bytes) -> Kept:
    head = head_of(body)
    at = len(MAGIC) + _LENGTH_BYTES
    at += int.from_bytes(body[len(MAGIC) : at], "big")
    content: Content = None
    if "error" in head:
        code, reason = head["error"]
        content = Error(code=code, reason=reason)
    elif head["reply"] is not None:
        blobs = _Blobs(body, at)
        content = RecordDict({name: _rebuilt(kind, items, blobs) for name, kind, items in head["reply"]})
    return Kept(
        node=head["node"],
        number=head["number"],
        digest=head["digest"],
        training=head["training"],
        content=content,
    )


class _Blobs:
    """Hands out the raw bytes behind the description, one array after the other."""

    def __init__(self, body: bytes, at: int) -> None:
        self._body, self._at = body, at

    def take(self, size: int) -> bytes:
        begin, self._at = self._at, self._at + size
        if size < 0 or self._at > len(self._body):
            raise ValueError("it ends before its arrays do")
        return self._body[begin : self._at]


def _rebuilt(kind: str, items: list[Any], blobs: _Blobs) -> ArrayRecord | MetricRecord | ConfigRecord:
    if kind == "arrays":
        return ArrayRecord(
            {
                name: Array(dtype=dtype, shape=tuple(shape), stype=stype, data=blobs.take(size))
                for name, dtype, shape, stype, size in items
            }
        )
    values = {name: _value(plain) for name, plain in items}
    return MetricRecord(values) if kind == "metrics" else ConfigRecord(values)
