"""What is to be trained, and how it differs from what was trained before."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from oneflower.flower.fab import Fab
from oneflower.settings import (
    APP_CONFIG_KEYS,
    OPERATOR_SET,
    RESUME,
    ROUNDS,
    Change,
    differences,
    submitted,
    without_operational,
)
from oneflower.supervisor.memory import Memory


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

    def rounds_wanted(self, done: int) -> int:
        """Return FL_NUM_ROUNDS; where the operator did not set it, the app decides and may have done more."""
        wanted, names = int(self.run_config[ROUNDS]), self.run_config.get(OPERATOR_SET)
        is_set = names is None or "FL_NUM_ROUNDS" in str(names).split(",")
        return wanted if is_set else max(wanted, done)

    def config(self, *, began: bool) -> dict[str, Any]:
        """Return the configuration to submit: what has begun is resumed, also with FL_RESUME=never."""
        return submitted({**self.run_config, **({RESUME: "auto"} if began else {})}, self.fab.own)

    def describe(self) -> dict[str, Any]:
        """Return what decides the model: the run's configuration, the app, and the number of nodes.

        The app's own default of a key decides the same, given or not.
        """
        config = {
            key: value
            for key, value in without_operational(self.run_config).items()
            if key in APP_CONFIG_KEYS or self.fab.own.get(key) != value
        }
        nodes = {} if self.nodes is None else {"nodes": self.nodes}
        return {**config, "app": self.fab.id, "app-hash": self.fab.hash, **nodes}


def changes(before: Memory | None, training: Mapping[str, Any]) -> list[Change]:
    """List what differs from the last start; empty for a first one."""
    return [] if before is None else differences(before.training, training)
