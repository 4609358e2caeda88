"""Named arrays as the bytes of an `.npz` file: stored zip, sorted names, fixed dates.

The same arrays always give the same bytes, so the SHA-256 of the file is the SHA-256 of the model and
`sha256sum` shows it. Headers are written here, not by NumPy or zipfile, whose bytes change between
versions. Formats: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html (version 1.0) and
PKWARE APPNOTE 6.3.9 (zip64 always, so that 4 GiB is no special case).
"""

import hashlib
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from oneflower.errors import CheckpointError

Arrays: TypeAlias = Mapping[str, NDArray[Any]]

NUMBER_KINDS: Final = "biufc"
_CONVERT: Final = "Convert it to numbers, or leave it out of the model."
_REMEDIES: Final = {
    "V": "NumPy has no bfloat16 or float8: send it as float32 (tensor.float(), or .astype('float32')).",
    "O": "Python objects, or rows of different lengths: send each part as an array of its own.",
    "U": "Text is not a weight: keep it outside the model, or send its bytes as uint8.",
    "S": "Text is not a weight: keep it outside the model, or send its bytes as uint8.",
    "M": "Send dates as integers: .astype('int64').",
    "m": "Send durations as integers: .astype('int64').",
}
_ZIP64: Final = 0xFFFFFFFF
_NEEDS_ZIP64: Final = 45
_UTF8_NAME: Final = 0x800
_DATE: Final = 0x21  # 1980-01-01, the zip format's zero
_MODE: Final = 0o100644 << 16


def npz_pieces(arrays: Arrays) -> Iterator[memoryview]:
    """Yield the file's bytes in order, array data as views without a copy.

    Raises
    ------
    CheckpointError
        An array is not of numbers or booleans (it would need pickle), or its name holds NUL.
    """
    directory: list[bytes] = []
    offset = 0
    for name in sorted(arrays):
        header, data = _npy_header(name, arrays[name]), _raw_bytes(arrays[name])
        crc, size = zlib.crc32(data, zlib.crc32(header)), len(header) + len(data)
        entry = f"{name}.npy".encode()
        local = _local_header(entry, crc, size)
        directory.append(_directory_entry(entry, crc, size, offset))
        offset += len(local) + size
        yield memoryview(local + header)
        yield data
    yield memoryview(b"".join(directory) + _end_of_directory(directory, offset))


def model_digest(arrays: Arrays) -> str:
    """Return the SHA-256 of a model as hex digits; the order of its arrays does not matter.

    It equals the SHA-256 of the file that the store writes: `sha256sum checkpoint_round_N.npz` prints the
    same digits.
    """
    digest = hashlib.sha256()
    for piece in npz_pieces(arrays):
        digest.update(piece)
    return digest.hexdigest()


def check_storable(arrays: Arrays, names: Sequence[str] | None = None) -> None:
    """Raise CheckpointError for an array that cannot be stored without pickle; it says how to fix that."""
    for name in names or arrays:
        array: object = arrays[name]
        if not isinstance(array, np.ndarray):
            kind = f"{type(array).__module__}.{type(array).__name__}"
            raise CheckpointError(
                f"array {name!r} is a {kind}: expected a NumPy array. Make it dense: .toarray() of SciPy, "
                ".to_dense().numpy() of PyTorch."
            )
        if array.dtype.kind not in NUMBER_KINDS:
            raise CheckpointError(
                f"array {name!r} has dtype {array.dtype}: expected booleans, integers, floats or complex "
                f"numbers. {_REMEDIES.get(array.dtype.kind, _CONVERT)}"
            )
        if "\0" in name:
            raise CheckpointError(f"array name {name!r} holds a NUL character. Rename the array.")


def _npy_header(name: str, array: NDArray[Any]) -> bytes:
    check_storable({name: array})
    shape = repr(tuple(int(length) for length in array.shape))
    text = f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': {shape}, }}"
    padding = -(10 + len(text) + 1) % 64
    return (
        b"\x93NUMPY\x01\x00"
        + struct.pack("<H", len(text) + padding + 1)
        + (text + " " * padding + "\n").encode()
    )


def _raw_bytes(array: NDArray[Any]) -> memoryview:
    """Return the array's bytes in C order; copies only an array that is not contiguous."""
    contiguous = np.asarray(array, order="C")
    return contiguous.reshape(-1).view(np.uint8).data if contiguous.size else memoryview(b"")


def _local_header(entry: bytes, crc: int, size: int) -> bytes:
    extra = struct.pack("<HHQQ", 1, 16, size, size)
    return b"PK\x03\x04" + _described(entry, crc, extra) + entry + extra


def _directory_entry(entry: bytes, crc: int, size: int, offset: int) -> bytes:
    extra = struct.pack("<HHQQQ", 1, 24, size, size, offset)
    made_by_unix = struct.pack("<H", 3 << 8 | _NEEDS_ZIP64)
    placed = struct.pack("<HHHLL", 0, 0, 0, _MODE, _ZIP64)
    return b"PK\x01\x02" + made_by_unix + _described(entry, crc, extra) + placed + entry + extra


def _described(entry: bytes, crc: int, extra: bytes) -> bytes:
    """Return the fields that an entry's local header and directory entry share; sizes are in ``extra``."""
    sizes = (_ZIP64, _ZIP64, len(entry), len(extra))
    return struct.pack("<HHHHHLLLHH", _NEEDS_ZIP64, _UTF8_NAME, 0, 0, _DATE, crc, *sizes)


def _end_of_directory(directory: list[bytes], offset: int) -> bytes:
    count, size = len(directory), sum(len(entry) for entry in directory)
    version = 3 << 8 | _NEEDS_ZIP64
    end64 = struct.pack(
        "<4sQHHLLQQQQ", b"PK\x06\x06", 44, version, _NEEDS_ZIP64, 0, 0, count, count, size, offset
    )
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, offset + size, 1)
    end = struct.pack("<4sHHHHLLH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, _ZIP64, _ZIP64, 0)
    return end64 + locator + end
