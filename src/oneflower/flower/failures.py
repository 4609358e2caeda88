"""Why a ServerApp ended: an exception that leaves it is in the journal once, wherever it was raised."""

import traceback
from pathlib import Path
from weakref import WeakSet

from oneflower.errors import OneflowerError
from oneflower.journal import LAST_WORDS_S, Journal, read_journal
from oneflower.kinds import kind_of

_told: WeakSet[OneflowerError] = WeakSet()


def tell_known(journal: Journal | None, error: OneflowerError, **facts: object) -> None:
    """Write ``training_failed`` with the error's class, kind and text, once for each error."""
    if journal is None or error in _told:
        return
    _told.add(error)
    told = {"error": type(error).__name__, "kind": kind_of(error), "reason": str(error)}
    journal.append("training_failed", **told, **facts)
    journal.flush(patience_s=LAST_WORDS_S)


def tell_unknown(journal: Journal | None, error: BaseException, *, folder: Path, app: str) -> str:
    """Write ``app_failed`` for an exception of the app's own; return it as one text for people.

    Parameters
    ----------
    folder
        The app's: the last line of it that the exception passed through is named.
    """
    name, where = type(error).__name__, place_of(error, folder)
    if journal is not None:
        told = {"error": name, "kind": kind_of(error), "reason": str(error)}
        journal.append("app_failed", **told, where=where, app=app)
        journal.flush(patience_s=LAST_WORDS_S)
    words = ": ".join(filter(None, [name, str(error)]))
    return f"the app raised {words}{f' ({where})' if where else ''}"


def has_ended_well(journal: Journal | None, error: SystemExit) -> bool:
    """Whether an app exits with 0 after the training of this process has finished; before, it has failed."""
    if error.code not in (None, 0) or journal is None or journal.owner is None:
        return False
    journal.flush(patience_s=LAST_WORDS_S)
    own = [event for event in read_journal(journal.path) if event.get("process") == journal.owner.process]
    words = [event["event"] for event in own if event["event"].startswith("training_")]
    return bool(words) and words[-1] == "training_finished"


def place_of(error: BaseException, folder: Path) -> str:
    """Return file and line below a folder where an exception was raised or let through; empty without."""
    frames = [
        f"{Path(frame.filename).relative_to(folder)}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(folder)
    ]
    return frames[-1] if frames else ""
