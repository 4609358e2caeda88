"""Which keys of a run-config decide the model, and how two configurations differ in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

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
# These say when it ends; the model of each round is the same.
ENDING: Final = frozenset(
    {ROUNDS, "best-metric", "early-stop-rounds", "early-stop-delta", "target-metric-value"}
)


@dataclass(frozen=True, slots=True)
class Change:
    """A value that is not what it was."""

    key: str
    before: object
    now: object

    def __str__(self) -> str:
        return f"{self.key} was {self.before}, is {self.now}"


def without_operational(run_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the model, and when the training ends."""
    return {key: value for key, value in run_config.items() if key not in OPERATIONAL}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """List the keys whose values differ, in the order of their names; a missing one is None."""
    # How a training ends was no setting in earlier releases: what they wrote says nothing of it.
    keys = sorted({*before, *now} - (ENDING - {*before}))
    pairs = ((key, before.get(key), now.get(key)) for key in keys)
    return [Change(key, old, new) for key, old, new in pairs if old != new]
