"""`oneflower track`: hand a training to TensorBoard or MLflow, from its journal."""

import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from oneflower.cli.sources import (
    JournalOption,
    PathArgument,
    StateOption,
    existing,
    missing_extra,
    source_of,
)
from oneflower.codes import ENDED
from oneflower.errors import OneflowerError, SettingsError, StateError
from oneflower.journal import Entry, TrainingState, follow, read_patiently
from oneflower.monitor.tracking.tracker import Tracker
from oneflower.monitor.tracking.tracker import track as hand_over
from oneflower.words import are, counted


def track(  # noqa: PLR0913 - one parameter an option
    where: PathArgument = None,
    *,
    state: StateOption = None,
    journal: JournalOption = None,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write TensorBoard event files into this folder.")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(metavar="URI", help="Log to this MLflow address; file:DIR is a folder.")
    ] = None,
    experiment: Annotated[str, typer.Option(metavar="NAME", help="MLflow's experiment.")] = "oneflower",
    keep_on: Annotated[
        bool, typer.Option("--follow", help="Go on as the training does, until it ends or Ctrl-C.")
    ] = False,
) -> None:
    """Hand a training to TensorBoard or MLflow.

    It reads the journal only: the training never waits for a tracker, and does not notice one that is down.
    Say it again at any time; what a tracker has already is not shown twice.
    """
    if (tensorboard is None) == (mlflow is None):
        raise SettingsError("expected one tracker: give --tensorboard DIR or --mlflow URI")
    path = source_of(where, state, journal).journal
    if not keep_on:
        existing(path)
    tracker = _tensorboard(tensorboard) if tensorboard is not None else _mlflow(mlflow or "", experiment)
    with _stopping() as stop:
        entries = follow(path, stop.reading) if keep_on else read_patiently(path)
        try:
            view = hand_over(_until_end(entries, stop), tracker)
        finally:
            tracker.close()
    sys.stdout.write(f"{counted(view.done, 'round')} {are(view.done)} tracked.\n")


def _tensorboard(folder: Path) -> Tracker:
    try:
        from oneflower.monitor.tracking.tensorboard import TensorBoardTracker  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise missing_extra("oneflower track --tensorboard", "tensorboard", error) from error
    try:
        return TensorBoardTracker(folder)
    except OSError as error:
        raise StateError(f"{folder} cannot be written ({error.strerror}): choose another folder") from error


def _mlflow(uri: str, experiment: str) -> Tracker:
    # MLflow refuses folders unless it is told that they are meant; and what is tracked is nobody else's.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - an extra

        from oneflower.monitor.tracking.mlflow import MlflowTracker  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra("oneflower track --mlflow", "mlflow", error) from error
    try:
        return MlflowTracker(uri, experiment)
    except MlflowException as error:
        raise OneflowerError(f"MLflow at {uri} does not answer as expected: {error}") from error


@dataclass(frozen=True, slots=True)
class _Stop:
    """``reading`` ends the following: the training has ended, or ``asked`` says that somebody ends it."""

    reading: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        self.asked.set()
        self.reading.set()


def _until_end(entries: Iterable[Entry], stop: _Stop) -> Iterator[Entry]:
    """Stop following when the training has ended for good and nothing of it is left to read."""
    view = TrainingState()
    for entry in entries:
        view.take(entry)
        yield entry
        if view.phase in ENDED:
            stop.reading.set()
        elif not stop.asked.is_set():
            stop.reading.clear()


@contextmanager
def _stopping() -> Iterator[_Stop]:
    """Turn SIGINT and SIGTERM into the end of following, so that the last points are written."""
    stop = _Stop()
    before = {name: signal.signal(name, lambda *_: stop.ask()) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
