"""Export a model as a file of its framework: NumPy, PyTorch, safetensors, Keras or XGBoost."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from oneflower.checkpoints import encoders
from oneflower.checkpoints.files import Files, OsFiles, hint
from oneflower.checkpoints.npz import Arrays, npz_pieces
from oneflower.checkpoints.writing import replace_file
from oneflower.errors import CheckpointError, SettingsError, StateError


@dataclass(frozen=True, slots=True, kw_only=True)
class _Format:
    """A format: the endings of its files, how it is encoded, and whether that needs a saved model."""

    endings: tuple[str, ...]
    encode: Callable[[Arrays], bytes] | Callable[[Arrays, Path], bytes]
    needs_like: bool = False


def _npz(arrays: Arrays) -> bytes:
    return b"".join(npz_pieces(arrays))


_FORMATS: Final = {
    "npz": _Format(endings=(".npz",), encode=_npz),
    "pt": _Format(endings=(".pt", ".pth"), encode=encoders.pt),
    "safetensors": _Format(endings=(".safetensors",), encode=encoders.safetensors),
    "keras": _Format(endings=(".keras",), encode=encoders.keras, needs_like=True),
    "weights.h5": _Format(endings=(".weights.h5",), encode=encoders.keras_weights, needs_like=True),
    "ubj": _Format(endings=(".ubj",), encode=encoders.ubj),
}
FORMATS: Final = tuple(_FORMATS)
_DEFAULT: Final = "npz"


def format_of(path: Path | None, given: str | None) -> str:
    """Return the format that was asked for: by name, else by the file's ending, else npz.

    Raises
    ------
    CheckpointError
        There is no such format, or none with this ending.
    SettingsError
        The name and the ending are of two formats.
    """
    if given is not None and given not in _FORMATS:
        raise CheckpointError(f"export format {given!r}: expected one of {', '.join(FORMATS)}.")
    by_ending = None if path is None else _by_ending(path)
    if path is not None and by_ending is None and given is None and path.suffix:
        endings = ", ".join(ending for each in _FORMATS.values() for ending in each.endings)
        raise CheckpointError(
            f"{path}: no export format has the ending {path.suffix}; expected one of {endings}. Rename the "
            f"file, or choose its format with --format."
        )
    if given and by_ending and given != by_ending:
        raise SettingsError(
            f"--format {given} and the file {path}: its ending is that of {by_ending}; expected one format. "
            f"Leave --format out, or give the file the ending {_FORMATS[given].endings[0]}"
        )
    return given or by_ending or _DEFAULT


def export_model(
    arrays: Arrays, path: Path, kind: str, *, like: Path | None = None, files: Files | None = None
) -> None:
    """Write a model to `path` atomically; an existing file is replaced.

    `pt` is a state_dict of tensors that `torch.load(path, weights_only=True)` opens. A file of Keras holds
    the architecture, or is laid out by it, and a checkpoint has none: `like` is a saved model that has it.

    Raises
    ------
    CheckpointError
        The format is unknown, its library is not installed, or the arrays are no model of it.
    SettingsError
        `like` is missing, or given where the format needs none.
    StateError
        The file cannot be written.
    """
    data = _encoded(arrays, format_of(None, kind), like)
    try:
        replace_file(files or OsFiles(), path, data)
    except OSError as error:
        raise StateError(f"writing {path} failed: {error.strerror or error}. {hint(error)}") from error


def _by_ending(path: Path) -> str | None:
    return next((name for name, each in _FORMATS.items() if path.name.endswith(each.endings)), None)


def _encoded(arrays: Arrays, kind: str, like: Path | None) -> bytes:
    chosen = _FORMATS[kind]
    if chosen.needs_like and like is None:
        raise SettingsError(
            f"the format {kind} without --like: a checkpoint holds arrays and no architecture, which Keras "
            f"needs; expected --like MODEL.keras with a model of this app, trained or not. Save one with "
            f"model.save('MODEL.keras') where the app builds its model, or export as npz"
        )
    if like is not None and not chosen.needs_like:
        wanted = " and ".join(name for name, each in _FORMATS.items() if each.needs_like)
        raise SettingsError(f"--like {like} with the format {kind}: only {wanted} need it. Leave it out")
    return chosen.encode(arrays) if like is None else chosen.encode(arrays, like)  # type: ignore[call-arg]
