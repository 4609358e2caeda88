"""Export a model as a NumPy, PyTorch or safetensors file."""

import importlib
import io
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from oneflower.checkpoints.files import Files, OsFiles, hint
from oneflower.checkpoints.npz import Arrays, npz_pieces
from oneflower.checkpoints.writing import replace_file
from oneflower.errors import CheckpointError, StateError

FORMATS: Final = ("npz", "pt", "safetensors")


def export_model(arrays: Arrays, path: Path, kind: str, *, files: Files | None = None) -> None:
    """Write a model to `path` atomically; an existing file is replaced.

    `pt` is a state_dict of tensors that `torch.load(path, weights_only=True)` opens.

    Raises
    ------
    CheckpointError
        The format is unknown, its library is not installed, or it does not support a dtype.
    StateError
        The file cannot be written.
    """
    data = _encoded(arrays, kind)
    try:
        replace_file(files or OsFiles(), path, data)
    except OSError as error:
        raise StateError(f"writing {path} failed: {error.strerror or error}. {hint(error)}") from error


def _encoded(arrays: Arrays, kind: str) -> bytes:
    if kind == "npz":
        return b"".join(npz_pieces(arrays))
    if kind == "pt":
        return _as_pt(arrays)
    if kind == "safetensors":
        return _as_safetensors(arrays)
    raise CheckpointError(f"export format {kind!r}: expected one of {', '.join(FORMATS)}.")


def _as_pt(arrays: Arrays) -> bytes:
    torch = _library("torch", "apps")
    buffer = io.BytesIO()
    try:
        # A copy: tensors need writable memory in the machine's byte order.
        tensors = {name: torch.from_numpy(_native(array)) for name, array in arrays.items()}
    except TypeError as error:
        raise CheckpointError(f"PyTorch has no such dtype: {error}. Export as npz instead.") from error
    torch.save(tensors, buffer)
    return buffer.getvalue()


def _as_safetensors(arrays: Arrays) -> bytes:
    library = _library("safetensors.numpy", "export")
    try:
        data: bytes = library.save({name: _native(array) for name, array in arrays.items()})
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"safetensors has no such dtype: {error}. Export as npz instead.") from error
    return data


def _native(array: Any) -> Any:
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")


def _library(name: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise CheckpointError(
            f"this export needs {name.partition('.')[0]}, which is not installed. "
            f"Install it with: pip install 'oneflower[{extra}]', or export as npz."
        ) from error
