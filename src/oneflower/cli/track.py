"""`oneflower track`: hand a training to TensorBoard or MLflow, from its journal."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from oneflower.cli.sources import DEFAULT_STATE, JournalOption, StateOption, journal_of, missing_extra
from oneflower.errors import OneflowerError, SettingsError, StateError
from oneflower.journal import follow, of_training, read_journal
from oneflower.monitor.tracking.tracker import Tracker
from oneflower.monitor.tracking.tracker import track as hand_over


def track(  # noqa: PLR0913 - one parameter an option
    *,
    state: StateOption = DEFAULT_STATE,
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
    path = journal_of(state, journal)
    if not (keep_on or path.is_file()):
        raise StateError(f"there is no journal {path}: expected the state folder of a training")
    tracker = _tensorboard(tensorboard) if tensorboard is not None else _mlflow(mlflow or "", experiment)
    with _stopping() as stop:
        events = of_training(follow(path, stop) if keep_on else read_journal(path))
        try:
            view = hand_over(_until_end(events, stop), tracker)
        finally:
            tracker.close()
    sys.stdout.write(f"{view.done} rounds are tracked.\n")


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


def _until_end(events: Iterator[dict[str, object]], stop: threading.Event) -> Iterator[dict[str, object]]:
    """Stop following when the training has ended and nothing of it is left to read."""
    for event in events:
        yield event
        if event["event"] in ("training_finished", "training_failed", "training_gave_up"):
            stop.set()
        elif event["event"] in ("training_started", "training_resumed", "round_started"):
            stop.clear()


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Turn SIGINT and SIGTERM into the end of following, so that the last points are written."""
    stop = threading.Event()
    before = {name: signal.signal(name, lambda *_: stop.set()) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
