"""The journal of a run, and why its ServerApp ended: an exception that leaves it is written once."""

import atexit
import os
import traceback
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakSet

from oneflower.errors import OneflowerError, SettingsError, named_class
from oneflower.flower.api import Context
from oneflower.flower.door import port
from oneflower.flower.operator_config import completed
from oneflower.journal import JOURNAL_VARIABLE, LAST_WORDS_S, Journal, Owner, read_journal, reduce
from oneflower.journal.events import AppFailed, TrainingFailed
from oneflower.journal.heartbeat import Heartbeat, heartbeat_file
from oneflower.kinds import kind_of
from oneflower.procfs import this_process
from oneflower.settings import TrainingConfig, training_config

_told: WeakSet[OneflowerError] = WeakSet()


def tell_known(journal: Journal | None, error: OneflowerError, **facts: Any) -> None:
    """Write ``training_failed`` with the error's class, kind and text, once for each error."""
    if journal is None or error in _told:
        return
    _told.add(error)
    name, kind = named_class(type(error)).__name__, kind_of(error)
    journal.append(TrainingFailed(error=name, kind=kind, reason=str(error), **facts))
    journal.flush(patience_s=LAST_WORDS_S)


def tell_unknown(journal: Journal | None, error: BaseException, *, folder: Path, app: str) -> str:
    """Write ``app_failed`` for an exception of the app's own; return it as one text for people.

    Parameters
    ----------
    folder
        The app's: the last line of it that the exception passed through is named.
    """
    error = _of_the_app(error)
    failed = AppFailed(
        app=app,
        error=type(error).__name__,
        kind=kind_of(error),
        reason=str(error),
        where=place_of(error, folder),
    )
    if journal is not None:
        journal.append(failed)
        journal.flush(patience_s=LAST_WORDS_S)
    return failed.words


def _of_the_app(error: BaseException) -> BaseException:
    """Return what an app's module raised where Flower says only that it cannot load the module."""
    is_about_loading = isinstance(error, port.LoadClientAppError | port.LoadServerAppError)
    return error.__cause__ if is_about_loading and error.__cause__ is not None else error


def has_ended_well(journal: Journal | None, error: SystemExit) -> bool:
    """Whether an app exits with 0 after the training of this process has finished; before, it has failed."""
    if error.code not in (None, 0) or journal is None or journal.owner is None:
        return False
    journal.flush(patience_s=LAST_WORDS_S)
    own = (each for each in read_journal(journal.path) if each.process == journal.owner.process)
    return reduce(own).finish is not None


def place_of(error: BaseException, folder: Path) -> str:
    """Return file and line below a folder where an exception was raised or let through; empty without."""
    frames = [
        f"{Path(frame.filename).relative_to(folder)}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(folder)
    ]
    return frames[-1] if frames else ""


def open_journal(config: TrainingConfig, run: int | None = None) -> Journal | None:
    """Return the journal where the environment names it, else the one beside the checkpoints, if any.

    Its events belong to a run: several may write one journal.
    """
    named = _named_journal(run)
    if named is not None or not config.checkpoint_enabled:
        return named
    return _owned(Path(config.checkpoint_path) / "journal.jsonl", run)


def journal_and_facts(
    run_config: Mapping[str, object], run: int | None = None
) -> tuple[Journal | None, dict[str, Any]]:
    """Return the journal and what is known of a training, even of one whose run-config is wrong."""
    try:
        config = training_config(completed(run_config))
    except SettingsError:
        return _named_journal(run), {}
    return open_journal(config, run), facts_of(config)


def tell_failure(error: OneflowerError, context: Context, *, app: str) -> None:
    """Write an error that was raised outside the rounds; what is not known of the training is left out."""
    journal, facts = journal_and_facts(context.run_config, context.run_id)
    tell_known(journal, error, **facts, app=app)


def tell_exception(error: BaseException, context: Context, *, folder: Path, app: str) -> str:
    """Write an exception of the app's own, and return it as one text for people."""
    journal, _ = journal_and_facts(context.run_config, context.run_id)
    return tell_unknown(journal, error, folder=folder, app=app)


def _named_journal(run: int | None) -> Journal | None:
    path = named_path(JOURNAL_VARIABLE)
    return _owned(path, run) if path else None


def named_path(variable: str) -> Path | None:
    """Return the path that whoever started this process has put into the environment."""
    named = os.environ.get(variable)
    return Path(named) if named else None


def _owned(path: Path, run: int | None) -> Journal:
    return Journal(path, owner=Owner(process=this_process(), run=run), heartbeat=_heartbeat(path, run))


@cache
def _heartbeat(path: Path, run: int | None) -> Heartbeat:
    """Return the heart of this process for a run: whoever opens the journal again beats with the same."""
    heartbeat = Heartbeat(heartbeat_file(path, run))
    atexit.register(heartbeat.end)
    return heartbeat


def facts_of(config: TrainingConfig) -> dict[str, Any]:
    """Return what every event that begins or ends a training says of it."""
    return {
        "rounds": config.num_rounds,
        "strategy": config.strategy,
        "parameters": config.strategy_parameters(),
        "best_metric": config.best_metric,
    }
