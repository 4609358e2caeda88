"""What is read of a reply, at most, and what stands in its place where it is refused.

A client sends what it likes. How large its reply may be follows from the message that it answers; whose reply
it is, and to which message, from what is pending.
"""

import math
from dataclasses import dataclass
from typing import Final, cast

from oneflower.codes import LeftOutCode
from oneflower.flower.api import Error, ErrorCode, Message, RecordDict
from oneflower.foreign_text import printable

LONGEST_REASON: Final = 300
MB: Final = 1_000_000
LIMIT_VARIABLE: Final = "FL_MAX_UPDATE_MB"
FREE_BYTES: Final = 64 << 20
"""What a reply may hold in arrays however small the message was: an app may answer a question with arrays."""
FREE_OBJECTS: Final = 256
CHUNK_BYTES: Final = 5 << 20
"""Flower sends an array in pieces of this size."""
MOST_METRICS: Final = 1_000
MOST_NUMBERS: Final = 65_536
LONGEST_NAME: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most that is read of a reply to one message.

    Parameters
    ----------
    num_bytes : int
        All objects together, and the sum of the chunks that its arrays list.
    objects : int
        Messages, records, arrays and chunks, as often as they are listed.
    """

    num_bytes: int = FREE_BYTES
    objects: int = FREE_OBJECTS

    @property
    def list_bytes(self) -> int:
        """The most bytes of a list of names."""
        return (64 << 10) + LONGEST_NAME * self.objects

    @property
    def record_bytes(self) -> int:
        """The most bytes of one record of metrics or of a configuration, and of an error."""
        return 1 << 20


class ReplyRefusedError(ValueError):
    """A reply must not be read any further; the text is why, without the client's name."""

    def __init__(self, reason: str, why: LeftOutCode = LeftOutCode.UNREADABLE) -> None:
        super().__init__(shortened(reason))
        self.why = why


class Refusal(Error):  # noqa: N818 - Flower's Error is no exception
    """The error that stands in the place of a refused reply: no client can send one."""

    def __init__(self, reason: str, why: LeftOutCode) -> None:
        super().__init__(code=ErrorCode.UNKNOWN, reason=shortened(reason))
        self.why = why


def limits_for(content: RecordDict, max_update_bytes: int = 0) -> Limits:
    """Return what a reply may hold, from the message that it answers: twice as much, and some more.

    A number of bytes that is not 0 (FL_MAX_UPDATE_MB) replaces what follows from the message.
    """
    arrays = [array for record in content.array_records.values() for array in record.values()]
    sizes = [len(array.data) for array in arrays]
    objects = sum(1 + max(1, math.ceil(size / CHUNK_BYTES)) for size in sizes)
    num_bytes = max_update_bytes or FREE_BYTES + 2 * sum(sizes)
    objects += max_update_bytes // CHUNK_BYTES
    return Limits(num_bytes=num_bytes, objects=FREE_OBJECTS + 2 * objects)


def larger_replies(max_update_bytes: int) -> str:
    """Return what to do where an app's replies are larger than what is read."""
    if not max_update_bytes:
        return f"If the app's replies are that large, set {LIMIT_VARIABLE} to their size"
    return f"If the app's replies are that large, raise {LIMIT_VARIABLE} (now {max_update_bytes // MB})"


def was_too_large(error: Error) -> bool:
    """Tell whether the SuperLink has answered for a client whose reply was too large."""
    return error.code == ErrorCode.REPLY_MESSAGE_UNAVAILABLE and LIMIT_VARIABLE in (error.reason or "")


def refuse(message: Message, reason: str, why: LeftOutCode) -> None:
    """Put a refusal into the place of a reply's content, which is given up."""
    message.content = cast(RecordDict, None)  # a message with content takes no error
    message.error = Refusal(reason, why)


def refusal_of(message: Message) -> Refusal | None:
    """Return why a reply was refused; None for one that was not, and for the client's own error."""
    error = message.error if message.has_error() else None
    return error if isinstance(error, Refusal) else None


def words_of(error: BaseException) -> str:
    """Return an exception that a reply has caused, in few words."""
    return shortened(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def shortened(text: str) -> str:
    """Return a text of a reasonable length, on one line."""
    line = printable(text[:LONGEST_REASON])
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 3]}..."
