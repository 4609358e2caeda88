"""The journal folded into what OneGate is told: a state, a round, a loss."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oneflower.journal.legacy import Current

# Where a loss was measured, the most telling first: on held-out data, by the clients, while they trained.
_ORIGINS = ("central_metrics", "evaluate_metrics", "train_metrics")


@dataclass(slots=True)
class Progress:
    """How a training stands; ``take`` its events in order. Numbers are None before they are known."""

    state: str = "waiting"
    rounds: int | None = None
    round: int | None = None
    loss: float | None = None
    checkpoint_round: int | None = None
    clients: int | None = None
    error: str = ""
    stopped: str = ""
    _unknown: int = field(default=0, repr=False)
    _current: Current = field(default_factory=Current, repr=False)

    def take(self, event: Mapping[str, Any]) -> None:
        """Fold in one event; one that another version wrote, or a disk damaged, is left alone."""
        if not self._current.takes(event):
            return
        try:
            self._take(event)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
            self._unknown += 1

    def values(self) -> dict[str, str]:
        """Return the values for OneGate; what is not known has no key."""
        numbers = {
            "FL_ROUND": self.round,
            "FL_ROUNDS": self.rounds,
            "FL_LOSS": None if self.loss is None else f"{self.loss:.6g}",
            "FL_CHECKPOINT_ROUND": self.checkpoint_round,
            "FL_CLIENTS": self.clients,
        }
        known = {name: str(value) for name, value in numbers.items() if value is not None}
        words = {"FL_ERROR": self.error, "FL_STOPPED": self.stopped}
        return {"FL_STATE": self.state, **known, **{name: text for name, text in words.items() if text}}

    def _take(self, event: Mapping[str, Any]) -> None:
        match event["event"]:
            case "training_started" | "training_resumed":
                self._begin(event)
            case "waiting_for_clients":
                self.state, self.clients = "waiting", int(event["connected"])
            case "round_started":
                self.state, self.clients = "training", int(event["clients"])
            case "round_completed":
                self.round, self.clients = int(event["round"]), int(event["valid"])
                self.rounds = int(event.get("rounds") or self.rounds or 0)
                self.loss = _loss(event)
            case "checkpoint_saved" | "checkpoint_failed" | "training_saving":
                self._save(event)
            case "training_finished":
                self._finish(event)
            case "run_submitted" if self.state == "failed":
                self.state, self.error = "waiting", ""
            case "training_failed" | "training_gave_up":
                self.state, self.error = "failed", str(event["reason"])

    def _begin(self, event: Mapping[str, Any]) -> None:
        self.state, self.error, self.stopped = "training", "", ""
        before, self.round, self.rounds = self.round, int(event["round"]), int(event["rounds"])
        if self.round != before or not self.round:
            self.loss = None  # it was of another round
        self.checkpoint_round = self.round or None

    def _save(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "checkpoint_saved":
            self.checkpoint_round, self.error = int(event["round"]), ""
        elif event["event"] == "checkpoint_failed":
            self.error = f"the checkpoint of round {event['round']} failed: {event['reason']}"
        else:
            self.state = "saving"
            self.error = f"the model of round {event['round']} is not saved yet: {event['reason']}"

    def _finish(self, event: Mapping[str, Any]) -> None:
        self.state, self.round, self.error = "finished", int(event["round"]), ""
        self.checkpoint_round = self.round if event.get("path") else None
        self.stopped = str(event.get("stopped") or "")


def _loss(event: Mapping[str, Any]) -> float | None:
    for origin in _ORIGINS:
        for name, value in (event.get(origin) or {}).items():
            if "loss" in name.lower() and isinstance(value, int | float) and math.isfinite(value):
                return float(value)
    return None
