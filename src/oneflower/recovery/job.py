"""What is to be trained, how it differs from what was trained before, and whether it is done."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from oneflower.errors import SettingsError
from oneflower.flower.fab import Fab
from oneflower.journal import Event
from oneflower.recovery.memory import Memory, finish_of

ROUNDS: Final = "num-server-rounds"
RESUME: Final = "resume"
# These say how a training is run, watched and kept; none of them changes what the model becomes.
OPERATIONAL: Final = frozenset(
    {
        "checkpoint-enabled",
        "checkpoint-interval",
        "checkpoint-path",
        "checkpoint-keep",
        RESUME,
        "round-timeout",
        "round-retries",
        "log-level",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An app with the configuration of its run. ``nodes`` is None where they are not ours to count."""

    fab: Fab
    run_config: Mapping[str, Any]
    max_restarts: int
    nodes: int | None = None

    @property
    def checkpoints(self) -> bool:
        """Whether a lost run goes on from a checkpoint."""
        return bool(self.run_config["checkpoint-enabled"])

    @property
    def round_timeout_s(self) -> float:
        """How long a round waits for its clients."""
        return float(self.run_config["round-timeout"])

    def config(self, *, began: bool) -> dict[str, Any]:
        """Return the configuration to submit: what has begun is resumed, also with FL_RESUME=never."""
        return {**self.run_config, **({RESUME: "auto"} if began else {})}

    def describe(self) -> dict[str, Any]:
        """Return what decides the model: the run's configuration, the app, and the number of nodes."""
        config = {key: value for key, value in self.run_config.items() if key not in OPERATIONAL}
        nodes = {} if self.nodes is None else {"nodes": self.nodes}
        return {**config, "app": self.fab.id, "app-hash": self.fab.hash, **nodes}


@dataclass(frozen=True, slots=True)
class Change:
    """A value that is not what it was at the last start."""

    key: str
    before: object
    now: object

    def __str__(self) -> str:
        return f"{self.key} was {self.before}, is {self.now}"


def changes(before: Memory | None, training: Mapping[str, Any]) -> list[Change]:
    """List what differs from the last start; empty for a first one."""
    if before is None:
        return []
    keys = sorted({*before.training, *training})
    pairs = ((key, before.training.get(key), training.get(key)) for key in keys)
    return [Change(key, old, new) for key, old, new in pairs if old != new]


def finished_already(job: Job, before: Memory | None, events: Iterable[Event]) -> Mapping[str, Any] | None:
    """Return the finish of the training, when there is nothing left to do.

    More rounds than it has had are something to do.

    Raises
    ------
    SettingsError
        It has finished, and another one is asked for now.
    """
    finish = finish_of(before, events)
    if finish is None or not _model_is_there(finish):
        return None
    done = int(finish.get("round", job.run_config[ROUNDS] if before is None else before.training[ROUNDS]))
    if int(job.run_config[ROUNDS]) > done:
        return None
    other = [change for change in changes(before, job.describe()) if change.key not in (ROUNDS, "app-hash")]
    if other:
        listed = "; ".join(str(change) for change in other)
        raise SettingsError(
            f"the training here has finished round {done}, with other settings: {listed}. "
            "Give a new training another state folder and another FL_CHECKPOINT_PATH (`oneflower up --fresh` "
            f"sets the old ones aside), or raise FL_NUM_ROUNDS above {done} to train this model further"
        )
    return finish


def _model_is_there(finish: Mapping[str, Any]) -> bool:
    path = finish.get("path")
    return not path or Path(str(path)).exists()
