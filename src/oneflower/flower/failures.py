"""Why a ServerApp ended: an exception that leaves it is in the journal once, wherever it was raised."""

import traceback
from pathlib import Path
from weakref import WeakSet

from oneflower.errors import OneflowerError
from oneflower.journal import Journal

_told: WeakSet[OneflowerError] = WeakSet()


def tell_known(journal: Journal | None, error: OneflowerError, **facts: object) -> None:
    """Write ``training_failed`` with the error's kind and text, once for each error."""
    if journal is None or error in _told:
        return
    _told.add(error)
    journal.append("training_failed", error=type(error).__name__, reason=str(error), **facts)


def tell_unknown(journal: Journal | None, error: Exception, *, folder: Path, app: str) -> str:
    """Write ``app_failed`` for an exception of the app's own; return it as one text for people.

    Parameters
    ----------
    folder
        The app's: the last line of it that the exception passed through is named.
    """
    kind, where = type(error).__name__, place_of(error, folder)
    if journal is not None:
        journal.append("app_failed", error=kind, reason=str(error), where=where, app=app)
    return f"the app raised {kind}: {error}{f' ({where})' if where else ''}"


def place_of(error: BaseException, folder: Path) -> str:
    """Return file and line below a folder where an exception was raised or let through; empty without."""
    frames = [
        f"{Path(frame.filename).relative_to(folder)}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(folder)
    ]
    return frames[-1] if frames else ""
