"""Weights by name from .npz, .safetensors, .pt and .pth files; nothing in a file is executed."""

import math
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from oneflower.bounded_json import parse_json
from oneflower.files import open_to_read
from oneflower.foreign_text import LONGEST_NAME, shown

MOST_TIMES: Final = 4
ROOM_BYTES: Final = 16 << 20
"""A file may have so many times the bytes of the app's model (it may hold an optimizer), and so many more."""
_NPY: Final = b"\x93NUMPY"
_NUMBERS: Final = "biufc"
_LENGTH_BYTES: Final = 8
_DTYPES: Final = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}
_NESTED: Final = ("state_dict", "model_state_dict", "model")

Weights = dict[str, NDArray[Any]]


class UnreadableError(ValueError):
    """A file of weights cannot be read; the text is the reason, in a few words."""


def read_weights(path: Path, most_bytes: int) -> Weights:
    """Return the arrays of a file by name, which was counted before memory is taken.

    Parameters
    ----------
    most_bytes
        How many bytes the file may have, also unpacked.

    Raises
    ------
    UnreadableError
        The file is missing, damaged, too large, no regular file, of another kind, or holds what is no array.
    """
    reader = _reader(path)
    try:
        with open_to_read(path) as file:  # a named pipe or a device would block
            _require_size(os.fstat(file.fileno()).st_size, most_bytes)
            return reader(file, most_bytes)
    except UnreadableError:
        raise
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from error
    except ImportError as error:
        raise UnreadableError("PyTorch is not installed, which alone reads it") from error
    except Exception as error:  # whoever wrote the file chooses what its decoder raises
        text = str(error).strip().partition("\n")[0]
        # A decoder's word or number alone, such as an opcode of pickle, tells nobody what to do.
        reason = f" ({shown(text, LONGEST_NAME)})" if " " in text else ""
        raise UnreadableError(f"it is damaged, or {_KINDS_TEXT[reader]}{reason}") from error


def check_there(path: Path) -> None:
    """Raise UnreadableError where there is no file of a kind that is read; its content is not looked at."""
    _reader(path)
    try:
        open_to_read(path).close()
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from error


def _reader(path: Path) -> "_Reader":
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UnreadableError(f"its name ends in {path.suffix or 'no suffix'}")
    return reader


def _require_size(size: int, most_bytes: int) -> None:
    if size > most_bytes:
        raise UnreadableError(
            f"it has {size} bytes, and at most {most_bytes} are read: {MOST_TIMES} times the app's model and "
            f"{ROOM_BYTES}"
        )


def _unpacked(file: BinaryIO, most_bytes: int) -> zipfile.ZipFile:
    """Open an archive after its sizes were added up; it must be compressed as NumPy does it."""
    archive = zipfile.ZipFile(file)
    _require_size(sum(entry.file_size for entry in archive.infolist()), most_bytes)
    for entry in archive.infolist():
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UnreadableError("its arrays are compressed in a way that NumPy and PyTorch do not write")
    return archive


def _npz(file: BinaryIO, most_bytes: int) -> Weights:
    if file.read(len(_NPY)) == _NPY:
        raise UnreadableError("it holds one array without a name")
    found: Weights = {}
    with _unpacked(file, most_bytes) as archive:
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            if name == entry.filename or name in found:
                raise UnreadableError(
                    f"its file {shown(entry.filename, LONGEST_NAME)!r} is no array of its own"
                )
            with archive.open(entry) as opened:
                found[name] = _npy(name, opened.read(entry.file_size + 1))
    return found


def _npy(name: str, data: bytes) -> NDArray[Any]:
    """Return the array of an .npy file: as many bytes as its header says, of numbers; see NumPy's format."""
    opened = BytesIO(data)
    version = np.lib.format.read_magic(opened)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(
        version
    )
    if read is None:
        raise UnreadableError(f"the array {shown(name, LONGEST_NAME)!r} is of the version {version} of .npy")
    shape, by_column, dtype = read(opened)
    place = data[opened.tell() :]
    if dtype.kind not in _NUMBERS:
        raise UnreadableError(f"the array {shown(name, LONGEST_NAME)!r} holds no numbers but {dtype}")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(place):
        raise UnreadableError(f"the array {shown(name, LONGEST_NAME)!r} does not fit its place in the file")
    return np.frombuffer(place, dtype).reshape(shape, order="F" if by_column else "C")


def _safetensors(file: BinaryIO, most_bytes: int) -> Weights:
    """Read a header of JSON, and the arrays behind it; see https://huggingface.co/docs/safetensors."""
    data = file.read(most_bytes)
    if len(data) < _LENGTH_BYTES:
        raise UnreadableError("it is no .safetensors file")
    (length,) = struct.unpack_from("<Q", data)
    body = memoryview(data)[_LENGTH_BYTES:]
    if length > len(body):
        raise UnreadableError("it is no .safetensors file, or it is cut off")
    try:
        header = parse_json(bytes(body[:length]))
    except ValueError as error:
        raise UnreadableError(f"its header is not valid ({error})") from error
    if not isinstance(header, dict):
        raise UnreadableError("its header is not an object")
    return {name: _tensor(name, row, body[length:]) for name, row in header.items() if name != "__metadata__"}


def _tensor(name: str, row: object, body: memoryview) -> NDArray[Any]:
    name = shown(name, LONGEST_NAME)
    given = row if isinstance(row, dict) else {}
    shape, offsets = _whole(given.get("shape")), _whole(given.get("data_offsets"))
    if shape is None or offsets is None or len(offsets) != 2:
        raise UnreadableError(f"the array {name!r} has no shape or no place in the file")
    kind = str(given.get("dtype"))
    if kind not in _DTYPES:
        raise UnreadableError(
            f"the array {name!r} has the dtype {shown(kind, LONGEST_NAME)}, unknown to NumPy; save it as F32"
        )
    dtype, (begin, end) = np.dtype(_DTYPES[kind]), offsets
    if end > len(body) or end - begin != math.prod(shape) * dtype.itemsize:
        raise UnreadableError(f"the array {name!r} does not fit its place in the file")
    return np.frombuffer(body[begin:end], dtype).reshape(shape)


def _whole(values: object) -> list[int] | None:
    if not isinstance(values, list) or not all(type(value) is int and value >= 0 for value in values):
        return None
    return values


def _torch(file: BinaryIO, most_bytes: int) -> Weights:
    import torch  # noqa: PLC0415  an app of another framework has none

    if zipfile.is_zipfile(file):
        _unpacked(file, most_bytes).close()
    file.seek(0)
    given = torch.load(file, map_location="cpu", weights_only=True)
    for key in _NESTED:
        if isinstance(given, Mapping) and isinstance(given.get(key), Mapping):
            given = given[key]
    if not isinstance(given, Mapping) or not given:
        raise UnreadableError("it holds no weights by name")
    return {str(name): _of_torch(str(name), value) for name, value in given.items()}


def _of_torch(name: str, value: Any) -> NDArray[Any]:
    try:
        array: NDArray[Any] = value.detach().numpy()
    except (AttributeError, TypeError, RuntimeError) as error:
        raise UnreadableError(
            f"{shown(name, LONGEST_NAME)!r} is no dense tensor that NumPy has ({error}); save it as a dense "
            "float32 tensor"
        ) from error
    return array


_Reader = Callable[[BinaryIO, int], Weights]
_READERS: Final[Mapping[str, _Reader]] = {
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".pt": _torch,
    ".pth": _torch,
}
_KINDS_TEXT: Final[Mapping[_Reader, str]] = {
    _npz: "no .npz file of numbers",
    _safetensors: "no .safetensors file",
    _torch: "no file of weights alone",
}
