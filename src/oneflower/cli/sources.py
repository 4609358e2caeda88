"""Where a training's journal is: the options that every command which reads one shares."""

from pathlib import Path
from typing import Annotated

import typer

from oneflower.errors import StateError
from oneflower.journal import has_journal, read_patiently
from oneflower.local_cluster.folder import StateFolder
from oneflower.monitor.history import History, fold
from oneflower.monitor.safety import Inspector, Safety

DEFAULT_STATE = Path("oneflower-state")

StateOption = Annotated[
    Path,
    typer.Option(
        "--state",
        metavar="DIR",
        show_default=False,
        help=f"State folder of `oneflower up`; {DEFAULT_STATE} if not given.",
    ),
]
JournalOption = Annotated[
    Path | None,
    typer.Option("--journal", metavar="FILE", help="A journal.jsonl, in place of a state folder."),
]


def journal_of(state: Path, journal: Path | None) -> Path:
    """Return the journal's place; it need not exist."""
    return journal or StateFolder(state).journal


def checkpoints_of(state: Path, journal: Path | None) -> Path:
    """Return where checkpoints lie as long as the journal has named none."""
    return journal.parent if journal else StateFolder(state).checkpoints


def read_training(state: Path, journal: Path | None = None, *, prove: bool = True) -> tuple[History, Safety]:
    """Read a training from its journal, and look at its checkpoints.

    Raises
    ------
    StateError
        There is no journal, or it cannot be read.
    """
    history = fold(read_patiently(existing(journal_of(state, journal))))
    return history, Inspector(checkpoints_of(state, journal)).look(history, prove=prove)


def existing(path: Path) -> Path:
    """Return the path of a journal; StateError where there is none."""
    if not has_journal(path):
        raise StateError(
            f"there is no journal {path}: expected the state folder of a training (--state DIR), "
            "or its journal (--journal FILE)"
        )
    return path


def missing_extra(command: str, extra: str, error: ImportError) -> StateError:
    """Return the error for a command whose optional packages are not installed."""
    return StateError(
        f"{command} needs the package {error.name}, which is not installed: pip install 'oneflower[{extra}]'"
    )
