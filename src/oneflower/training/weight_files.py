"""Weights by name from .npz, .safetensors, .pt and .pth files; nothing in a file is executed."""

import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from oneflower.bounded_json import parse_json

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


def read_weights(path: Path) -> Weights:
    """Return the arrays of a file by name.

    Raises
    ------
    UnreadableError
        The file is missing, damaged, of another kind, or holds what is no array of numbers.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UnreadableError(f"its name ends in {path.suffix or 'no suffix'}")
    try:
        return reader(path)
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from error


def _npz(path: Path) -> Weights:
    try:
        # NumPy leaves a file open that it opens itself and that is no zip.
        with path.open("rb") as opened:
            file = np.load(opened, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise UnreadableError("it holds one array without a name")
            return {name: file[name] for name in file.files}
    except (ValueError, EOFError, BadZipFile, KeyError) as error:
        raise UnreadableError(f"it is no .npz file of numbers ({error})") from error


def _safetensors(path: Path) -> Weights:
    """Read a header of JSON, and the arrays behind it; see https://huggingface.co/docs/safetensors."""
    data = path.read_bytes()
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
    given = row if isinstance(row, dict) else {}
    shape, offsets = _whole(given.get("shape")), _whole(given.get("data_offsets"))
    if shape is None or offsets is None or len(offsets) != 2:
        raise UnreadableError(f"the array {name!r} has no shape or no place in the file")
    if given.get("dtype") not in _DTYPES:
        raise UnreadableError(
            f"the array {name!r} has the dtype {given.get('dtype')}, unknown to NumPy; save it as F32"
        )
    dtype, (begin, end) = np.dtype(_DTYPES[given["dtype"]]), offsets
    if end > len(body) or end - begin != math.prod(shape) * dtype.itemsize:
        raise UnreadableError(f"the array {name!r} does not fit its place in the file")
    return np.frombuffer(body[begin:end], dtype).reshape(shape)


def _whole(values: object) -> list[int] | None:
    if not isinstance(values, list) or not all(type(value) is int and value >= 0 for value in values):
        return None
    return values


def _torch(path: Path) -> Weights:
    try:
        import torch  # noqa: PLC0415  an app of another framework has none
    except ImportError as error:
        raise UnreadableError("PyTorch is not installed, which alone reads it") from error
    try:
        given = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # PyTorch raises whatever its unpickler does
        first = str(error).strip().partition("\n")[0]
        raise UnreadableError(f"it is no file of weights alone ({first})") from error
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
            f"{name!r} is no dense tensor that NumPy has ({error}); save it as a dense float32 tensor"
        ) from error
    return array


_READERS: Final[Mapping[str, Callable[[Path], Weights]]] = {
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".pt": _torch,
    ".pth": _torch,
}
