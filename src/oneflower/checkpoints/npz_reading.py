"""Read an `.npz` that someone else may have written: its sizes are checked before memory is taken.

What the store writes is a stored zip (`npz`). An entry that is compressed, that declares more bytes than the
file has, or whose array is not as large as its entry is refused: it is damage, or a zip bomb.
"""

import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import IO, Any, BinaryIO, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from oneflower.checkpoints.npz import NUMBER_KINDS

Rows: TypeAlias = Mapping[str, tuple[tuple[int, ...], str]]
"""Names of arrays with their shapes and dtypes."""

UNREADABLE: Final = (
    ValueError,  # NumPy's, and ours
    TypeError,
    KeyError,
    EOFError,
    OverflowError,
    RecursionError,
    NotImplementedError,  # zipfile's, for a zip of another version
    RuntimeError,  # zipfile's, for an encrypted entry
    zipfile.BadZipFile,
    zlib.error,
)
"""Whatever `read_npz` and `npz_schema` raise on bytes that are no such file."""
LARGEST_FILE: Final = 1 << 40
"""No model comes near 1 TiB; a file that declares more is not read."""
_LONGEST_HEADER: Final = 10_000
_MOST_DIMENSIONS: Final = 64
# Headers of the zip and of the array, whose lengths depend on the name (twice) and the shape.
_ENTRY_BYTES: Final = 1024


def read_npz(file: BinaryIO, rows: Rows) -> dict[str, NDArray[Any]]:
    """Read the arrays of an open `.npz` that must hold these; never unpickles. Raises one of `UNREADABLE`."""
    arrays: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(file) as archive:
        for name, entry in _entries(archive, file):
            if name not in rows:
                raise ValueError(f"{name}: only in the file")
            with archive.open(entry) as member:
                shape, dtype = _header(member, entry)
            if (shape, dtype.str) != rows[name]:
                raise ValueError(f"{name}: shape {list(shape)} {dtype.str}, and not {rows[name]}")
            with archive.open(entry) as member:
                arrays[name] = np.lib.format.read_array(
                    member, allow_pickle=False, max_header_size=_LONGEST_HEADER
                )
    if missing := rows.keys() - arrays.keys():
        raise ValueError(f"{min(missing)}: not in the file")
    return arrays


def npz_schema(file: BinaryIO) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shape and dtype of every array of an open `.npz` from the headers only. Raises as `read_npz`."""
    found = {}
    with zipfile.ZipFile(file) as archive:
        for name, entry in _entries(archive, file):
            with archive.open(entry) as member:
                shape, dtype = _header(member, entry)
            found[name] = (shape, dtype.str)
    return found


def array_bytes(shape: tuple[int, ...], dtype: str) -> int:
    """Return the size of an array in bytes; ValueError where there is no such array of numbers."""
    kind = np.dtype(dtype)
    if kind.kind not in NUMBER_KINDS or kind.str != dtype:
        raise ValueError(f"dtype {dtype!r} is not one of numbers")
    if len(shape) > _MOST_DIMENSIONS or any(type(each) is not int or each < 0 for each in shape):
        raise ValueError(f"shape {list(shape)!r:.80} is not one of an array")
    return math.prod(shape) * kind.itemsize


def file_sizes(rows: Rows) -> tuple[int, int]:
    """Return the least and the most bytes of a file of these arrays. ValueError as `array_bytes`."""
    least, most = 0, _ENTRY_BYTES
    for name, (shape, dtype) in rows.items():
        least += array_bytes(shape, dtype)
        most += _ENTRY_BYTES + 4 * len(name.encode(errors="replace")) + 32 * len(shape)
    return least, least + most


def _entries(archive: zipfile.ZipFile, file: BinaryIO) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """Yield the entries; ValueError where they are not as stored, or more than the file can hold."""
    here = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(here)
    names = set()
    for entry in archive.infolist():
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise ValueError(f"{entry.filename} is compressed; the store writes no such file")
        size -= entry.file_size
        if size < 0:
            raise ValueError(f"{entry.filename} declares {entry.file_size} bytes, more than the file has")
        name = entry.filename.removesuffix(".npy")
        if name in names:
            raise ValueError(f"{name} is in it twice")
        names.add(name)
        yield name, entry


def _header(member: IO[bytes], entry: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read an array's header; ValueError unless the entry has exactly the bytes of that array."""
    if np.lib.format.read_magic(member) != (1, 0):
        raise ValueError(f"{entry.filename} has another version of the npy format")
    shape, _, dtype = np.lib.format.read_array_header_1_0(member, max_header_size=_LONGEST_HEADER)
    if member.tell() + array_bytes(shape, dtype.str) != entry.file_size:
        raise ValueError(f"{entry.filename} does not hold an array of shape {list(shape)!r:.80}")
    return shape, dtype
