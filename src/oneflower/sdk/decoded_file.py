"""Arrays as one file that is mapped into memory: no pickle, and no byte that its checksum does not cover.

Layout: 16 bytes of magic; the index, a JSON object with its length before it; each array in C order, at a
multiple of 64; the SHA-256 of everything before it.
"""

import hashlib
import json
import mmap
import re
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from oneflower.bounded_json import Bounds, parse_json

MAGIC: Final = b"oneflower.data.1"
ALIGNMENT: Final = 64
SUM_BYTES: Final = 32
MOST_ARRAYS: Final = 10_000
_BOUNDS: Final = Bounds(most_bytes=4 << 20, most_values=100_000)
_HEAD: Final = len(MAGIC) + 8
_DTYPE: Final = re.compile(r"[<>|][biufcSU][0-9]{1,9}")
_BLOCK: Final = 16 << 20


def can_hold(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return why a file cannot hold the arrays; empty if it can."""
    if len(arrays) > MOST_ARRAYS:
        return f"there are {len(arrays)} arrays; at most {MOST_ARRAYS} are kept"
    for name, array in arrays.items():
        if not _DTYPE.fullmatch(array.dtype.str) or array.dtype.names or not array.dtype.itemsize:
            return f"array {name!r:.80} has dtype {array.dtype}; numbers, booleans and texts are kept"
    return ""


def blocks(key: str, arrays: Mapping[str, NDArray[Any]]) -> Iterator[bytes | memoryview]:
    """Yield the content of a file, in pieces."""
    digest = hashlib.sha256()
    for block in _contents(key, arrays):
        digest.update(block)
        yield block
    yield digest.digest()


def size_of(key: str, arrays: Mapping[str, NDArray[Any]]) -> int:
    """Return the size of a file in bytes."""
    index, _ = _index(key, arrays)
    return _padded(_HEAD + len(index)) + sum(_padded(array.nbytes) for array in arrays.values()) + SUM_BYTES


def arrays_in(view: mmap.mmap, key: str) -> dict[str, NDArray[Any]] | None:
    """Return the arrays of a file, in its memory; None if they are of another key.

    Raises
    ------
    ValueError
        The file is damaged, or is none.
    """
    rows, start = _read_index(view, key)
    if rows is None:
        return None
    _verify(view)
    found: dict[str, NDArray[Any]] = {}
    for name, dtype, shape in rows:
        array = _array(view, start, dtype, shape)
        if not isinstance(name, str) or name in found:
            raise ValueError(f"the name {name!r:.80} is none, or there twice")
        found[name] = array
        start += _padded(array.nbytes)
    if start + SUM_BYTES != len(view):
        raise ValueError(f"it has {len(view)} bytes; expected {start + SUM_BYTES}")
    return found


def _contents(key: str, arrays: Mapping[str, NDArray[Any]]) -> Iterator[bytes | memoryview]:
    index, padding = _index(key, arrays)
    yield MAGIC + len(index).to_bytes(8, "little") + index + padding
    for array in arrays.values():
        if array.nbytes:
            yield array.reshape(-1).view(np.uint8).data
        yield bytes(_padded(array.nbytes) - array.nbytes)


def _index(key: str, arrays: Mapping[str, NDArray[Any]]) -> tuple[bytes, bytes]:
    rows = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    index = json.dumps({"key": key, "arrays": rows}).encode()
    return index, bytes(_padded(_HEAD + len(index)) - _HEAD - len(index))


def _read_index(view: mmap.mmap, key: str) -> tuple[list[Any] | None, int]:
    if len(view) < _HEAD + SUM_BYTES or view[: len(MAGIC)] != MAGIC:
        raise ValueError("it does not begin as a file of arrays does")
    length = int.from_bytes(view[len(MAGIC) : _HEAD], "little")
    if length > len(view) - _HEAD - SUM_BYTES:
        raise ValueError("its index is longer than it is")
    index = parse_json(view[_HEAD : _HEAD + length], _BOUNDS)
    if not isinstance(index, dict) or not isinstance(index.get("arrays"), list):
        raise ValueError("its index is none")  # noqa: TRY004 - it is damage
    rows = index["arrays"]
    if any(not isinstance(row, list) or len(row) != 3 for row in rows):
        raise ValueError("a row of its index is none")
    return (rows if index.get("key") == key else None), _padded(_HEAD + length)


def _verify(view: mmap.mmap) -> None:
    digest, end = hashlib.sha256(), len(view) - SUM_BYTES
    with memoryview(view) as content:
        for start in range(0, end, _BLOCK):
            digest.update(content[start : min(start + _BLOCK, end)])
    if digest.digest() != view[end:]:
        raise ValueError("its SHA-256 is not the one at its end")


def _array(view: mmap.mmap, start: int, dtype: Any, shape: Any) -> NDArray[Any]:
    if not isinstance(dtype, str) or not _DTYPE.fullmatch(dtype):
        raise ValueError(f"the dtype {dtype!r:.80} is not valid")
    if not isinstance(shape, list) or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"the shape {shape!r:.80} is not valid")
    kind = np.dtype(dtype)
    if not kind.itemsize or start + prod(shape) * kind.itemsize > len(view) - SUM_BYTES:
        raise ValueError(f"an array of {dtype} and shape {shape!r:.80} does not fit into it")
    return np.ndarray(tuple(shape), kind, buffer=view, offset=min(start, len(view) - SUM_BYTES))


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
