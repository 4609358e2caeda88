"""How large a message is with all that it lists: equal arrays, and equal chunks of them, travel once.

A new model often has many: arrays of zeros or ones. The arrays of the reply differ, and may take the room
that the message would take without what is equal.
"""

import json
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from oneflower.flower.refusals import CHUNK_BYTES

HEADER_BYTES: Final = 128
"""What numpy.save writes before the numbers."""


@dataclass(slots=True)
class Size:
    """What the objects of one message are, as far as they were handed out; the ServerApp made them.

    Attributes
    ----------
    sent
        Bytes of the objects themselves.
    other
        Bytes of those that are neither arrays nor chunks.
    arrays
        Bytes and chunks of each array, by its object id.
    names
        How often records name an array.
    """

    sent: int = 0
    other: int = 0
    arrays: dict[str, tuple[int, int]] = field(default_factory=dict)
    names: Counter[str] = field(default_factory=Counter)

    def add(self, object_id: str, content: bytes) -> None:
        """Count an object; one that cannot be read counts as it is."""
        self.sent += len(content)
        head, _, body = content.partition(b"\0") if content[:5] == b"Array" else (b"", b"", b"")
        kind = head.split(b" ")[0]
        try:
            if kind == b"Array":
                self.arrays[object_id] = _of_array(json.loads(body))
            elif kind == b"ArrayRecord":
                self.names.update(json.loads(body).values())
        except (ValueError, TypeError, KeyError, AttributeError):
            kind = b""
        if kind not in (b"Array", b"ArrayChunk"):
            self.other += len(content)

    @property
    def num_bytes(self) -> int:
        """The bytes of the message if nothing in it were equal."""
        listed = sum(size * max(1, self.names[each]) for each, (size, _) in self.arrays.items())
        return max(self.sent, self.other + listed)

    @property
    def objects(self) -> int:
        """The arrays and chunks of the message if nothing in it were equal."""
        return sum((1 + chunks) * max(1, self.names[each]) for each, (_, chunks) in self.arrays.items())


def _of_array(form: dict[str, Any]) -> tuple[int, int]:
    """Return the bytes and the number of chunks of an array."""
    chunks = len(form["arraychunk_ids"])
    most = chunks * CHUNK_BYTES
    try:
        values = math.prod(form["shape"]) * np.dtype(str(form["dtype"])).itemsize
    except TypeError:
        return most, chunks
    return min(most, HEADER_BYTES + int(values)), chunks
