"""FL_INITIAL_MODEL: the weights of a file in place of those that the app made, before round 1."""

from collections.abc import Mapping
from logging import INFO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from oneflower.aggregation import ArraySpec, check_array
from oneflower.checkpoints import CheckpointReader, model_digest
from oneflower.errors import SettingsError
from oneflower.flower.api import ArrayRecord, log
from oneflower.flower.records import array_views, to_record
from oneflower.foreign_text import LONGEST_NAME, shown
from oneflower.settings import Settings, TrainingConfig
from oneflower.training.weight_files import MOST_TIMES, ROOM_BYTES, UnreadableError, check_there, read_weights

NOTE: Final = "initial_model"
"""The SHA-256 of the weights that a training started from, in the notes of its checkpoints."""
_SHOWN: Final = 8


def with_initial_model(config: TrainingConfig, arrays: ArrayRecord, notes: dict[str, Any]) -> ArrayRecord:
    """Return the weights to start round 1 from: those of FL_INITIAL_MODEL, else the app's own.

    Raises
    ------
    SettingsError
        The file cannot be read, holds another model, or NaN or infinity; the text names the arrays.
    """
    if not config.initial_model:
        return arrays
    path, wanted = Path(config.initial_model), array_views(arrays)
    try:
        given = read_weights(path, most_bytes(wanted))
    except UnreadableError as error:
        raise _unusable(config.initial_model, error) from error
    differing = _differences(wanted, given)
    if differing:
        raise SettingsError(
            f"FL_INITIAL_MODEL is {config.initial_model!r}, which is another model than the app's: "
            f"{_some(differing)}. Expected the names, shapes and dtypes of the app's "
            "arrays; convert the file, or leave FL_INITIAL_MODEL empty"
        )
    checked = (check_array(name, array, ArraySpec(array.shape, array.dtype)) for name, array in given.items())
    faulty = [fault for fault in checked if fault]
    if faulty:
        raise SettingsError(
            f"FL_INITIAL_MODEL is {config.initial_model!r}, which cannot be used: {_some(faulty)}. "
            "Save the weights of a training that has not diverged, or leave FL_INITIAL_MODEL empty"
        )
    notes[NOTE] = model_digest(given)
    log(INFO, "training starts from FL_INITIAL_MODEL path=%s sha256=%s", path, notes[NOTE])
    return to_record(dict(given), tuple(wanted))


def check_initial_model_of(settings: Settings) -> None:
    """Look, before anything starts, whether FL_INITIAL_MODEL is a file on this machine.

    A training that resumes from a round does not read it. With FL_ISOLATION=process the ServerApp may see
    other files than this process.

    Raises
    ------
    SettingsError
        There is no such file, or of no kind that is read.
    """
    path = settings.initial_model
    resumes = settings.checkpoint_enabled and settings.resume != "never"
    if not path or settings.isolation != "subprocess":
        return
    if resumes and CheckpointReader(Path(settings.checkpoint_path)).rounds():
        return
    try:
        check_there(Path(path))
    except UnreadableError as error:
        raise _unusable(path, error) from error


def _unusable(path: str, error: UnreadableError) -> SettingsError:
    return SettingsError(
        f"FL_INITIAL_MODEL is {path!r}, which cannot be used: {error}. Expected a .npz, .safetensors, .pt or "
        ".pth file of named arrays that this machine can read; correct the path, or leave FL_INITIAL_MODEL "
        "empty to start from the app's own weights"
    )


def most_bytes(model: Mapping[str, NDArray[Any]]) -> int:
    """Return how many bytes a file of the weights of a model may have."""
    return MOST_TIMES * sum(array.nbytes for array in model.values()) + ROOM_BYTES


def _differences(wanted: Mapping[str, NDArray[Any]], given: Mapping[str, NDArray[Any]]) -> list[str]:
    found = []
    for name, array in wanted.items():
        other = given.get(name)
        if other is None:
            found.append(f"{name} is missing in the file")
        elif (other.shape, other.dtype) != (array.shape, array.dtype):
            found.append(f"{name} is {_form(other)} in the file and {_form(array)} in the app")
    return found + [f"{shown(name, LONGEST_NAME)} is not in the app" for name in given if name not in wanted]


def _some(texts: list[str]) -> str:
    more = [f"and {len(texts) - _SHOWN} more"] if len(texts) > _SHOWN else []
    return "; ".join([*texts[:_SHOWN], *more])


def _form(array: NDArray[np.generic]) -> str:
    return f"{array.dtype}{list(array.shape)}"
