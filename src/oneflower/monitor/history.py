"""The journal's events folded into what a training looks like now: one reading for all that report it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from oneflower.journal import SupervisorState
from oneflower.journal.legacy import Current
from oneflower.kinds import ErrorKind, kind_named
from oneflower.monitor import records
from oneflower.monitor.client_history import ClientHistory
from oneflower.monitor.fields import is_understood, time_of
from oneflower.monitor.lines import describe
from oneflower.monitor.records import Event
from oneflower.monitor.view import Phase
from oneflower.quality import wanted_or_automatic

__all__ = ["Event", "History", "fold"]

# With these a training begins again that had ended, or begins at all.
BEGINNINGS = frozenset({SupervisorState.WAITING, SupervisorState.SUBMITTING})


@dataclass(slots=True)
class History(ClientHistory):
    """The fold of a journal: ``take`` its events in order.

    A training that starts from round 1 again forgets what was before; one that resumes after round k
    forgets the rounds after k, which are trained again. ``undone`` keeps the lost rounds for the picture.
    With ``most_rounds`` only the newest rounds and checkpoints are kept, for what reports no others.
    """

    most_rounds: int | None = None
    current: Current = field(default_factory=Current)

    def take(self, event: Event) -> bool:
        """Fold in one event; unknown ones, and fields that are missing, are left alone.

        Returns
        -------
        bool
            Whether it is of this training; an event of another run in the same journal is not.
        """
        if not self.current.takes(event):
            return False
        self.events += 1
        self._note_time(time_of(event))
        try:
            handler = _handler(event["event"])
            if handler is not None and is_understood(event):
                handler(self, event)
        except (KeyError, TypeError, ValueError, AttributeError):
            # A line that another version wrote, or a disk damaged, must not end a training that goes well.
            pass
        return True

    def _note_time(self, time: datetime | None) -> None:
        if time is None:
            return
        if self.first_time is None:
            self.first_time = time
        self.last_time = time

    # --- one method an event, found by its name ----------------------------------------------------

    def _begin(self, event: Event) -> None:
        self.strategy, self.app = str(event.get("strategy", "")), str(event.get("app", ""))
        self.parameters = event.get("parameters") or {}
        self.total = int(event.get("rounds", 0))
        self.quality = wanted_or_automatic(event.get("best_metric"))
        self.waiting, self.failure, self.saving, self.finish = "", "", "", None
        self.began, self.phase = self.last_time, Phase.STARTING
        self.started_round, self.clients, self.replies = 0, 0, 0
        self.answered.clear()
        self.evaluated.clear()

    def _on_training_started(self, event: Event) -> None:
        if self.finish is not None:
            for kept in (self.undone, self.moments, self.roster):
                kept.clear()
        else:
            self._undo(0)
        self._begin(event)
        self.rounds.clear()
        self.checkpoints.clear()
        self.left_out.clear()
        self.absent.clear()
        self.resumed_after.clear()
        self._mark(event)

    def _on_training_resumed(self, event: Event) -> None:
        after = int(event.get("round", 0))
        self._undo(after)
        self._begin(event)
        self.resumed_after.append(after)
        self.resumes += 1
        for kept in (self.checkpoints, self.absent):
            for number in [number for number in kept if number > after]:
                del kept[number]
        self._mark(event)

    def _undo(self, after: int) -> None:
        for number in [number for number in self.rounds if number > after]:
            self.undone.append(self.rounds.pop(number))

    def _on_process_died(self, event: Event) -> None:
        self._mark(event)

    _on_process_started = _on_settings_changed = _on_evaluation_unavailable = _on_process_died
    _on_metric_missing = _on_client_state_kept = _on_client_state_lost = _on_process_died

    def _on_supervisor_state(self, event: Event) -> None:
        state = str(event["state"])
        self.supervisor, self.supervisor_reason = state, str(event.get("reason", ""))
        self.supervisor_since = self.last_time
        if state in BEGINNINGS and self.phase in (Phase.NOTHING, Phase.FINISHED, Phase.FAILED):
            self.phase, self.failure = Phase.STARTING, ""

    def _on_run_submitted(self, event: Event) -> None:
        self.phase, self.failure = Phase.STARTING, ""
        if event["event"] == "cluster_started":
            self._mark(event)

    _on_cluster_started = _on_run_submitted

    def _on_waiting_for_clients(self, event: Event) -> None:
        if not self.waiting:
            self._mark(event)
        self.waiting = f"{event['connected']} of {event['needed']} clients are connected"
        self.phase = Phase.WAITING

    def _on_round_started(self, event: Event) -> None:
        number = int(event["round"])
        self.attempt = self.attempt + 1 if number == self.started_round else 1
        self.started_round, self.clients = number, int(event.get("clients", 0))
        self.total = int(event.get("rounds", self.total))
        self.replies, self.waiting, self.phase = 0, "", Phase.TRAINING
        self.round_began = self.last_time
        self.answered.clear()
        self.evaluated.clear()

    def _on_round_failed(self, event: Event) -> None:
        self.failed_rounds += 1
        self._mark(event)

    def _on_round_aggregated(self, event: Event) -> None:
        self.aggregation_s = float(event["seconds"])
        self.phase = Phase.EVALUATING

    def _on_round_completed(self, event: Event) -> None:
        number = int(event["round"])
        self.rounds[number] = records.RoundResult.of(event, self.last_time)
        self._limit(self.rounds)
        self.total = int(event.get("rounds", self.total))
        self.phase, self.losses_in_a_row = Phase.BETWEEN, 0
        if self.supervisor == SupervisorState.TRAINING:
            self.supervisor_reason = ""  # the loss before this run: it has come back from it

    def _on_checkpoint_saved(self, event: Event) -> None:
        number = int(event["round"])
        self.checkpoint_failure, self.saving = "", ""
        self.checkpoints[number] = records.SavedCheckpoint.of(event, self.last_time)
        self._limit(self.checkpoints)

    def _limit(self, kept: dict[int, Any]) -> None:
        if self.most_rounds is not None and len(kept) > self.most_rounds:
            del kept[next(iter(kept))]

    def _on_checkpoint_failed(self, event: Event) -> None:
        self.failed_checkpoints += 1
        self.checkpoint_failure = str(event.get("reason", ""))
        self._mark(event)

    def _on_training_saving(self, event: Event) -> None:
        self.phase, self.waiting = Phase.SAVING, ""
        tries = f"try {event.get('attempt', '?')} of {event.get('tries', '?')}"
        self.saving = f"the model of round {event['round']} ({tries}): {event.get('reason', '?')}"
        self._mark(event)

    def _on_training_finished(self, event: Event) -> None:
        self.finish, self.waiting, self.phase, self.saving = event, "", Phase.FINISHED, ""
        self.checkpoint_failure = ""
        self._mark(event)

    def _on_training_gave_up(self, event: Event) -> None:
        self.failure, self.waiting, self.phase, self.saving = str(event["reason"]), "", Phase.FAILED, ""
        self._mark(event)

    def _on_training_failed(self, event: Event) -> None:
        self._on_training_gave_up(event)
        self._unless_it_comes_back(event)

    def _on_app_failed(self, event: Event) -> None:
        self.failure, self.waiting, self.phase = describe(event, self) or "", "", Phase.FAILED
        self._mark(event)
        self._unless_it_comes_back(event, ErrorKind.APP)

    def _unless_it_comes_back(self, event: Event, usual: ErrorKind | None = None) -> None:
        """Take the failure back where a supervisor starts the run again."""
        kind = kind_named(event.get("kind")) or usual
        if self.current.supervised and kind in (ErrorKind.APP, ErrorKind.ENVIRONMENT):
            self.supervisor_reason, self.failure, self.phase = self.failure, "", Phase.RESTARTING

    def _on_run_lost(self, event: Event) -> None:
        self.restarts += 1
        self.losses_in_a_row = int(event.get("restarts") or 0)
        self.delay_s = float(event.get("delay_s") or 0.0)
        self.failure, self.waiting, self.phase = "", "", Phase.RESTARTING
        self._mark(event)

    def _on_settings_used(self, event: Event) -> None:
        self.settings = [row for row in event.get("settings") or [] if isinstance(row, Mapping)]
        self.environment = event.get("environment") or {}


@lru_cache(maxsize=128)
def _handler(name: object) -> Callable[[History, Event], None] | None:
    return getattr(History, f"_on_{name}", None)


def fold(events: Iterable[Event]) -> History:
    """Fold a whole journal."""
    history = History()
    for event in events:
        history.take(event)
    return history
