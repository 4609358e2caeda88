"""What the last start was asked to train, and whether that is done."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oneflower.files import read_json, write_json
from oneflower.journal import Event
from oneflower.cluster.plan import Plan
from oneflower.errors import SettingsError
from oneflower.journal import read_journal

SCHEMA = 1
ROUNDS = "num-server-rounds"
# These say how a training is run, watched and kept; none of them changes what the model becomes.
OPERATIONAL = frozenset(
    {
        "checkpoint-enabled",
        "checkpoint-interval",
        "checkpoint-path",
        "checkpoint-keep",
        "resume",
        "round-timeout",
        "round-retries",
        "log-level",
    }
)


@dataclass(frozen=True, slots=True)
class Change:
    """A value that is not what it was at the last start."""

    key: str
    before: object
    now: object

    def __str__(self) -> str:
        return f"{self.key} was {self.before}, is {self.now}"


def describe(plan: Plan) -> dict[str, Any]:
    """Return what decides the model: the run's configuration, the app, and the number of nodes."""
    config = {key: value for key, value in plan.run_config().items() if key not in OPERATIONAL}
    return {**config, "app": plan.fab.id, "app-hash": plan.fab.hash, "nodes": plan.nodes}


def write_record(plan: Plan) -> None:
    """Keep what this start trains, for the next one to compare with."""
    write_json(plan.folder.training, {"v": SCHEMA, "training": describe(plan)})


def changes(plan: Plan) -> list[Change]:
    """List what differs from the last start in this folder; empty for a new folder."""
    before, now = read_json(plan.folder.training).get("training"), describe(plan)
    if not isinstance(before, dict):
        return []
    keys = sorted({*before, *now})
    return [Change(key, before.get(key), now.get(key)) for key in keys if before.get(key) != now.get(key)]


def finished_already(plan: Plan) -> Event | None:
    """Return the finish of the training in this folder, when there is nothing left to do.

    More rounds than it has had are something to do. So is FL_RESUME=never.

    Raises
    ------
    SettingsError
        It has finished, and another one is asked for now.
    """
    event = last_finish(read_journal(plan.folder.journal))
    if event is None or plan.settings.resume == "never" or not _model_is_there(event):
        return None
    done = int(event.get("round", 0))
    if plan.settings.num_rounds > done:
        return None
    other = [change for change in changes(plan) if change.key not in (ROUNDS, "app-hash")]
    if other:
        listed = "; ".join(str(change) for change in other)
        raise SettingsError(
            f"the training in {plan.folder.root} has finished round {done}, with other settings: {listed}. "
            "Say --fresh to train anew (the old state is set aside), give another folder with --state, "
            f"or raise FL_NUM_ROUNDS above {done} to train its model further"
        )
    return event


def last_finish(events: Iterable[Event]) -> Event | None:
    """Return the last ``training_finished`` if no training has begun after it."""
    finish = None
    for event in events:
        if event["event"] == "training_finished":
            finish = event
        elif event["event"] in ("run_submitted", "training_started", "training_resumed", "training_failed"):
            finish = None
    return finish


def _model_is_there(event: Mapping[str, Any]) -> bool:
    path = event.get("path")
    return not path or Path(str(path)).exists()
