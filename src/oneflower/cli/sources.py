"""Where a training's journal is: the options that every command which reads one shares."""

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from oneflower.checkpoints import CheckpointReader, Signer, remembered_training
from oneflower.errors import CheckpointError, SettingsError, StateError
from oneflower.journal import (
    JOURNAL_VARIABLE,
    TrainingState,
    has_journal,
    is_left,
    read_patiently,
    reduce,
)
from oneflower.journal.state import interrupt
from oneflower.local_cluster.folder import StateFolder
from oneflower.monitor.state.safety import Inspector, Safety, note_lost_files
from oneflower.settings import checkpoint_key

DEFAULT_STATE = Path("oneflower-state")
DEFAULT_CHECKPOINTS = Path("/app/checkpoints")

PathArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[PATH]",
        show_default=False,
        help=f"State folder of a training, or its journal; {DEFAULT_STATE} if not given.",
    ),
]
StateOption = Annotated[
    Path | None,
    typer.Option("--state", metavar="DIR", show_default=False, help="The state folder, in place of PATH."),
]
JournalOption = Annotated[
    Path | None,
    typer.Option("--journal", metavar="FILE", help="A journal.jsonl, in place of PATH."),
]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a training is read from. Nothing of it need exist.

    ``checkpoints`` holds as long as the journal has named no other folder.
    """

    journal: Path
    checkpoints: Path
    logs: Path


def source_of(path: Path | None, state: Path | None, journal: Path | None) -> Source:
    """Return what a command's PATH, --state or --journal names.

    Without any of them it is the journal of this machine's SuperLink, where the environment names one, else
    `DEFAULT_STATE`.

    Raises
    ------
    SettingsError
        More than one is given.
    """
    given = [each for each in (path, state, journal) if each is not None]
    if len(given) > 1:
        raise SettingsError(
            f"{' and '.join(map(str, given))} were given: expected one place, as PATH, --state or --journal"
        )
    if path is not None and _is_journal(path):
        journal = path
    named = os.environ.get(JOURNAL_VARIABLE)
    if not given and named:
        journal = Path(named)
    folder = StateFolder(path or state or DEFAULT_STATE)
    if journal is None:
        return Source(folder.journal, folder.checkpoints, folder.logs)
    return Source(journal, journal.parent, journal.parent / "logs")


def _is_journal(path: Path) -> bool:
    """Whether a path names a journal; one that may not be looked at is taken for a state folder."""
    try:
        return not path.is_dir() and (path.is_file() or path.suffix == ".jsonl")
    except OSError:
        return False


def checkpoint_folder(where: Path | None, path: Path) -> Path:
    """Return the folder of checkpoints that a command's PATH, else --path names; it may be a state folder."""
    named = where or path
    inside = StateFolder(named).checkpoints
    try:
        return inside if inside.is_dir() else named
    except OSError:
        return named


def signer(folder: Path) -> Signer | None:
    """Return what checks signatures in a folder of checkpoints, with FL_CHECKPOINT_KEY of the environment.

    Its training is the one that the state folder around it remembers, else that of the newest signed round.
    """
    key = checkpoint_key(os.environ)
    if not key:
        return None
    ours = Signer(key=key, training=remembered_training(folder.parent))
    if ours.training:
        return ours
    reader = CheckpointReader(folder, signer=ours)
    for number in reversed(reader.rounds()):
        with suppress(CheckpointError):
            return replace(ours, training=reader.training(number))
    return ours


def read_training(source: Source, *, prove: bool = True) -> tuple[TrainingState, Safety]:
    """Read a training from its journal, and look at its checkpoints.

    Raises
    ------
    StateError
        There is no journal, or it cannot be read.
    """
    history = read_state(source.journal)
    return history, Inspector(source.checkpoints).look(history, prove=prove)


def read_state(journal: Path) -> TrainingState:
    """Read a training from its journal, as interrupted where whoever trained in its folder has ended.

    Raises
    ------
    StateError
        There is no journal, or it cannot be read.
    """
    left = is_left(journal)
    history = reduce(read_patiently(existing(journal)))
    # Before and after: what one that has ended in between wrote last may not be known.
    if left and is_left(journal):
        interrupt(history)
    note_lost_files(history)
    return history


def existing(path: Path) -> Path:
    """Return the path of a journal; StateError where there is none."""
    if not has_journal(path):
        raise StateError(
            f"there is no journal {path}: expected the state folder of a training, or its journal"
        )
    return path


def awaited(path: Path | None, state: Path | None, journal: Path) -> str | None:
    """Return a warning where there is no journal yet, which is right before a first training.

    Raises
    ------
    StateError
        A state folder was named and does not exist: the name is mistyped.
    """
    if has_journal(journal):
        return None
    named = state or (path if path is not None and not _is_journal(path) else None)
    if named is not None and not os.path.isdir(named):  # noqa: PTH112 - no error for what may not be looked at
        raise StateError(f"there is no state folder {named}: expected that of a training, or its journal")
    return f"there is no journal {journal} yet: nothing is shown until a training writes it"


def missing_extra(command: str, extra: str, error: ImportError) -> StateError:
    """Return the error for a command whose optional packages are not installed."""
    return StateError(
        f"{command} needs the package {error.name}, which is not installed: pip install 'oneflower[{extra}]'"
    )
