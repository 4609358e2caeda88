"""Watch one run of the app until it has finished, failed, or is lost."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from oneflower import errors
from oneflower.journal import Event
from oneflower.cluster.local import LocalCluster
from oneflower.errors import ClusterError, OneflowerError, TrainingError
from oneflower.flower.control import RunState

# Flower's ServerApp may hang at its exit (flwr/common/exit/exit_handler.py); its last event says it is done.
EXIT_GRACE_S = 15.0
# A run that is `running` without a ServerApp for so long is dead, whatever Flower says for the next minute.
APP_GONE_S = 5.0
SILENT_S = 30.0
LOG_TIMEOUT_S = 5.0
# All that is left of a RuntimeError (server/serverapp/app.py, `except RuntimeError`): the run stays open.
SWALLOWED = "Failed to start run."
RAISED = re.compile(r"^oneflower\.errors\.(\w+): ", re.MULTILINE)


class RunLost(Exception):  # noqa: N818 - it is what happened, and it is always caught
    """The run has ended without a result through no fault of the app; it may be submitted again."""


class AppFailed(RunLost):
    """The app ended with an exception that oneflower does not know: once more may help, for ever does not."""


@dataclass(slots=True, kw_only=True)
class Watch:
    """One submission and what is known of it; ``take`` its events, then ``look`` now and then."""

    run_id: int
    cluster: LocalCluster
    clock: Callable[[], float] = time.monotonic
    rounds: int = 0
    ending: Event | None = None
    _armed: bool = False
    _ended_at: float | None = None
    _app_seen_at: float | None = None
    _answered_at: float | None = None

    def take(self, event: Event) -> None:
        """Note an event of the journal; those before this submission are another run's."""
        if event["event"] == "run_submitted":
            self._armed = event.get("run") == self.run_id
        elif self._armed and event["event"] == "round_completed":
            self.rounds += 1
        elif self._armed and event["event"] in ("training_finished", "training_failed"):
            self.ending = event
            self._ended_at = self.clock()

    def look(self) -> bool:
        """Ask Flower how the run is; True when it has finished well.

        Raises
        ------
        RunLost
            The run may be submitted again.
        OneflowerError
            The run failed for a reason that will not pass by itself.
        """
        state = self._state()
        if state is not None and state.finished:
            return self._finished(state)
        if self._ended_at is not None and self.clock() - self._ended_at > EXIT_GRACE_S:
            return self._ended_by_event()
        if state is not None and state.status == "running" and self._app_is_gone():
            if self.ending is not None:
                return self._ended_by_event()
            raise self._loss()
        return False

    def _state(self) -> RunState | None:
        """Ask for the state; a SuperLink that is silent for long is as good as dead."""
        now = self.clock()
        try:
            state = self.cluster.control.status(self.run_id)
        except ClusterError as error:
            if self._answered_at is not None and now - self._answered_at > SILENT_S:
                raise RunLost(str(error)) from error
            self._answered_at = self._answered_at or now
            return None
        self._answered_at = now
        return state

    def _app_is_gone(self) -> bool:
        now = self.clock()
        if self.cluster.app_process() is not None:
            self._app_seen_at = now
        return self._app_seen_at is not None and now - self._app_seen_at > APP_GONE_S

    def _finished(self, state: RunState) -> bool:
        if state.outcome == "completed":
            return self.ending is None or self._ended_by_event()
        if state.outcome == "stopped":
            raise TrainingError("the run was stopped through Flower's Control API: start again to go on")
        if state.lost:
            raise RunLost("the SuperLink has heard nothing from the ServerApp for a minute")
        known = self._known_error(state.details)
        if known:
            raise known
        if self.ending is not None:
            return self._ended_by_event()
        raise AppFailed(state.details or "the ServerApp ended with an exception")

    def _ended_by_event(self) -> bool:
        if self.ending is not None and self.ending["event"] == "training_failed":
            reason = str(self.ending.get("reason", "no reason was given"))
            raise self._known_error(reason) or TrainingError(reason)
        return True

    def _loss(self) -> RunLost:
        """Tell a ServerApp that was killed from one that raised RuntimeError, which Flower swallows."""
        if SWALLOWED in self._log():
            return AppFailed("the app raised a RuntimeError, whose text Flower does not tell")
        return RunLost("the ServerApp's process has ended")

    def _known_error(self, text: str) -> OneflowerError | None:
        """Find the kind of a failure in the run's log: Flower hands on an exception's text, not its class."""
        names = RAISED.findall(self._log())
        kind = getattr(errors, names[-1], None) if names else None
        if isinstance(kind, type) and issubclass(kind, OneflowerError):
            return kind(text)
        return None

    def _log(self) -> str:
        try:
            return "".join(self.cluster.control.logs(self.run_id, timeout_s=LOG_TIMEOUT_S))
        except ClusterError:
            return ""
