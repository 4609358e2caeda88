"""A model's arrays as the bytes of a file that a framework's own loader opens.

Each framework is imported where it is needed; none is needed to read or write a checkpoint.
"""

import importlib
import io
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np

from oneflower.checkpoints.npz import Arrays
from oneflower.errors import CheckpointError

_MOST_SHOWN = 3


def pt(arrays: Arrays) -> bytes:
    """Return a PyTorch state_dict; the arrays' names are its keys."""
    torch = _library("torch", "apps")
    buffer = io.BytesIO()
    try:
        # A copy: tensors need writable memory in the machine's byte order.
        tensors = {name: torch.from_numpy(_native(array)) for name, array in arrays.items()}
    except TypeError as error:
        raise CheckpointError(f"PyTorch has no such dtype: {error}. Export as npz instead.") from error
    torch.save(tensors, buffer)
    return buffer.getvalue()


def safetensors(arrays: Arrays) -> bytes:
    """Return a safetensors file under the arrays' names."""
    library = _library("safetensors.numpy", "export")
    try:
        data: bytes = library.save({name: _native(array) for name, array in arrays.items()})
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"safetensors has no such dtype: {error}. Export as npz instead.") from error
    return data


def keras(arrays: Arrays, like: Path) -> bytes:
    """Return a model of Keras: the architecture of the saved model `like`, with the arrays as its weights."""
    return _keras_file(arrays, like, "model.keras")


def keras_weights(arrays: Arrays, like: Path) -> bytes:
    """Return a weights file of Keras, for `load_weights` of a model with the architecture of `like`."""
    return _keras_file(arrays, like, "model.weights.h5")


def ubj(arrays: Arrays) -> bytes:
    """Return an XGBoost model as UBJSON, from its bytes in the one array, JSON or UBJSON."""
    xgboost = _library("xgboost", "xgboost")
    found = list(arrays.values())
    if len(found) != 1 or found[0].dtype != np.uint8 or found[0].ndim != 1 or not found[0].size:
        raise CheckpointError(
            f"this checkpoint holds no XGBoost model: expected one array of uint8 with the bytes of a "
            f"booster (save_raw), and it holds {_described(arrays)}. Export as npz instead."
        )
    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(found[0].tobytes()))
        return bytes(booster.save_raw("ubj"))
    except (xgboost.core.XGBoostError, ValueError) as error:
        text = str(error).strip().splitlines()
        raise CheckpointError(
            f"the bytes in this checkpoint are no XGBoost model: {text[-1] if text else error}. "
            f"Export as npz instead."
        ) from error


def _keras_file(arrays: Arrays, like: Path, name: str) -> bytes:
    """Save a model as a file of Keras, which writes to paths only, and return the file's bytes."""
    library = _library("keras", "tensorflow")
    try:
        # safe_mode refuses code in the file; without the optimizer, whose state is not of this model.
        model = library.saving.load_model(like, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{like} cannot be read: {_first_line(error)}. Expected a model that model.save('MODEL.keras') "
            f"wrote."
        ) from error
    model.set_weights(_in_order(arrays, model, like))
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        (model.save if path.suffix == ".keras" else model.save_weights)(path)
        return path.read_bytes()


def _in_order(arrays: Arrays, model: Any, like: Path) -> list[Any]:
    """Return the arrays as `set_weights` takes them: by their numbers, or by the paths of the weights."""
    if all(name.isdecimal() for name in arrays):
        names = sorted(arrays, key=int)
    else:
        names = _names_of([weight.path for weight in model.weights], list(arrays), like)
    ordered = [arrays[name] for name in names]
    shapes = [tuple(weight.shape) for weight in model.weights]
    given = [array.shape for array in ordered]
    if shapes != given:
        pairs = zip(names, given, shapes, strict=False)
        wrong = [f"{name} is {here}, there {there}" for name, here, there in pairs if here != there]
        raise CheckpointError(
            f"{like} is another model: it has {len(shapes)} weights, the checkpoint {len(given)} arrays; "
            f"shapes that differ: {_listed(wrong)}. Expected the app's model."
        )
    return ordered


def _names_of(paths: list[str], names: list[str], like: Path) -> list[str]:
    """Return the array of each weight by its path, which may lack the model's own name on one side."""
    found = {path: [name for name in names if _same_weight(path, name)] for path in paths}
    missing = [path for path, fitting in found.items() if len(fitting) != 1]
    chosen = [fitting[0] for fitting in found.values() if fitting]
    more = [name for name in names if name not in chosen]
    if missing or more:
        raise CheckpointError(
            f"{like} is another model: missing in the checkpoint {_listed(missing)}; only there "
            f"{_listed(more)}. Expected the app's model, whose arrays are numbered (get_weights()) or "
            f"have the paths of its weights."
        )
    return chosen


def _same_weight(path: str, name: str) -> bool:
    return path == name or path.endswith(f"/{name}") or name.endswith(f"/{path}")


def _described(arrays: Arrays) -> str:
    return _listed([f"{name} ({array.dtype}, shape {array.shape})" for name, array in arrays.items()])


def _listed(texts: list[str]) -> str:
    more = len(texts) - _MOST_SHOWN
    return (", ".join(texts[:_MOST_SHOWN]) or "none") + (f" and {more} more" if more > 0 else "")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


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
