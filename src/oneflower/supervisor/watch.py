"""Watch one run of the app until it has finished, failed, or is lost."""

import re
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from oneflower.codes import LossCode
from oneflower.errors import ClusterError, OneflowerError, TrainingError, class_named
from oneflower.flower.control import ControlClient, RunState
from oneflower.journal import Entry
from oneflower.journal import events as e
from oneflower.kinds import ErrorKind, kind_of, may_pass
from oneflower.procfs import Identity
from oneflower.supervisor.processes import Sight, Work

# Flower's ServerApp may hang at its exit (flwr/common/exit/exit_handler.py); its last event says it is done.
EXIT_GRACE_S = 15.0
# A run that is `running` without a ServerApp for so long is dead, whatever Flower says for the next minute.
APP_GONE_S = 3.0
# The launcher starts a dead superexec again after 10 s at most; a service of its own does so in 10 s, too.
EXECUTOR_GONE_S = 20.0
SILENT_S = 30.0
# An executor asks every second: one that takes nothing up in so long hangs, or is not there.
PENDING_S = 120.0
# A run that was taken up and whose ServerApp was never seen: its start has failed.
NEVER_SEEN_S = 180.0
# A process tree that uses so much of one core over a window works, whatever it does not say.
WORK_WINDOW_S = 60.0
WORKS_SHARE = 0.02
# A round ends by FL_ROUND_TIMEOUT, a phase at a time; evaluating and aggregating have this much more.
STALL_MARGIN_S = 600.0
LOG_TIMEOUT_S = 5.0
# All that is left of a RuntimeError (flwr/server/serverapp/app.py:274): the run stays open.
SWALLOWED = "Failed to start run."
RAISED = re.compile(r"^oneflower\.(?:\w+\.)+(\w+): ", re.MULTILINE)


class RunLostError(Exception):
    """The run has ended without a result through no fault of the app; it may be submitted again.

    ``superlink`` says that the SuperLink is of no use any more. With `LossCode.APP_EXCEPTION` the app ended
    with an exception that oneflower does not know: one more run may help, many do not. With
    `LossCode.ENVIRONMENT` the ServerApp ended with an error that passes by itself (`kinds`).
    """

    def __init__(self, code: LossCode, reason: str, *, superlink: bool = False) -> None:
        super().__init__(reason)
        self.code = code
        self.superlink = superlink


@dataclass(slots=True, kw_only=True)
class Watch:
    """One run and what is known of it; ``take`` the journal's events, then ``look`` now and then.

    Attributes
    ----------
    sight
        Gives what runs beside the supervisor; None where that cannot be seen.
    work
        Measures what processes have done so far; None where that cannot be seen.
    beat
        Gives what differs after every beat of the run's heart, and None where that cannot be seen. An event
        that could not be written is a beat, too.
    round_timeout_s
        A ServerApp that writes nothing for twice as long, and ten minutes more, and does nothing either, is
        taken for dead.
    adopted
        Whether the run was submitted by a supervisor before this one: its ServerApp must be there already.
    catch_up
        Takes what the journal holds by now: an app's last words come just before its end, and are read later.
    """

    run_id: int
    control: ControlClient
    sight: Callable[[], Sight | None]
    round_timeout_s: float
    work: Callable[[Collection[Identity]], Work | None] = lambda _: None
    beat: Callable[[Collection[Identity]], object] = lambda _: None
    adopted: bool = False
    catch_up: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    rounds: int = 0
    finish: Entry | None = None
    failure: e.TrainingFailed | None = None
    began: bool = False
    kept: bool = False
    _armed: bool = False
    _app_failed: e.AppFailed | None = None
    _worked: Work | None = None
    _beaten: object = None
    _measured_at: float = 0.0
    _ended_at: float | None = None
    _submitted_at: float | None = None
    _heard_at: float = 0.0
    _app_seen_at: float | None = None
    _executor_seen_at: float | None = None
    _answered_at: float | None = None
    _superlink: Identity | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the ServerApp has written how the training ended."""
        return self.finish is not None or self.failure is not None

    def _has_told_its_end(self) -> bool:
        if not self.has_ended:
            self.catch_up()
        return self.has_ended

    def take(self, entry: Entry) -> None:
        """Note an event of this run; one that names no run belongs to the run that was submitted last."""
        run, event = entry.run, entry.event
        if isinstance(event, e.RunSubmitted):
            self._armed = run == self.run_id
        if isinstance(event, e.JoinRefused):
            return  # anybody may cause one: it is no sign of the ServerApp
        if (run is None and not self._armed) or (run is not None and run != self.run_id):
            return
        self._heard_at = self.clock()
        match event:
            case e.RoundCompleted() | e.ExchangeCompleted():
                self.rounds += 1
            case e.LoopStarted():
                self.kept = True
            case e.TrainingBegun():
                self.began = self.kept = True
            case e.TrainingFinished():
                self.finish, self.failure, self._ended_at = entry, None, self.clock()
            case e.TrainingFailed():
                self.finish, self.failure, self._ended_at = None, event, self.clock()
            case e.AppFailed():
                self._app_failed = event

    def look(self) -> bool:
        """Ask Flower and the processes how the run is; True when it has finished well.

        Raises
        ------
        RunLostError
            The run may be submitted again.
        OneflowerError
            The run failed for a reason that will not pass by itself.
        """
        now, sight = self.clock(), self.sight()
        self._note(now, sight)
        state = self._state(now, sight)
        if state is not None and state.finished:
            return self._finished(state)
        if self._ended_at is not None and (
            now - self._ended_at > EXIT_GRACE_S or (sight is not None and self._app_is_gone(now, sight))
        ):
            return self._ended_by_event()
        if sight is not None:
            self._check_processes(now, sight)
        if state is not None:
            self._check_pace(now, state, sight)
        return False

    def _note(self, now: float, sight: Sight | None) -> None:
        if self._submitted_at is None:
            self._submitted_at = self._heard_at = self._executor_seen_at = now
            self._app_seen_at = now if self.adopted else None
            self._measured_at = now
        if self._superlink is None and sight is not None:
            self._superlink = sight.superlink
        if sight is not None and self._apps(sight):
            self._app_seen_at = now
        self._measure(now, self._apps(sight) if sight is not None else ())
        if sight is None or sight.executors or sight.apps:
            self._executor_seen_at = now

    def _apps(self, sight: Sight) -> tuple[Identity, ...]:
        return sight.apps_of({self.run_id})

    def _measure(self, now: float, apps: Collection[Identity]) -> None:
        """Take a ServerApp that beats or works for one that is heard of: a long evaluation writes nothing.

        An app that has not begun, perhaps one that never writes, is also alive while its main thread runs.
        """
        elapsed_s = now - self._measured_at
        if self._worked is not None and elapsed_s < WORK_WINDOW_S:
            return
        beaten = self.beat(apps)
        if beaten is not None and beaten != self._beaten:
            self._heard_at, self._beaten = now, beaten
        before, self._worked, self._measured_at = self._worked, self.work(apps) if apps else None, now
        if before is None or self._worked is None:
            return
        busy = self._worked.cpu_s - before.cpu_s >= WORKS_SHARE * elapsed_s
        if busy or (not self.began and self._worked.turns != before.turns):
            self._heard_at = now

    def _state(self, now: float, sight: Sight | None) -> RunState | None:
        """Ask for the state; a SuperLink that is silent for long is as good as dead."""
        if sight is not None and sight.superlink is None:
            return None
        try:
            known = self.control.runs()
        except ClusterError as error:
            if self._answered_at is not None and now - self._answered_at > SILENT_S:
                raise RunLostError(LossCode.SUPERLINK_SILENT, str(error), superlink=True) from error
            self._answered_at = self._answered_at or now
            return None
        self._answered_at = now
        state = next((run for run in known if run.run_id == self.run_id), None)
        if state is None and not self.has_ended:
            raise RunLostError(LossCode.RUN_FORGOTTEN, f"the SuperLink does not know run {self.run_id}")
        return state

    def _check_processes(self, now: float, sight: Sight) -> None:
        if sight.superlink is None:
            raise RunLostError(LossCode.SUPERLINK_DOWN, "the SuperLink has ended", superlink=True)
        if sight.superlink != self._superlink:
            reason = "the SuperLink was restarted and does not know the run any more"
            raise RunLostError(LossCode.SUPERLINK_RESTARTED, reason)
        if self._app_is_gone(now, sight) and not self._has_told_its_end():
            raise self._loss()
        if now - (self._executor_seen_at or now) > EXECUTOR_GONE_S:
            reason = "the SuperLink's executor has ended, and Flower starts no other"
            raise RunLostError(LossCode.EXECUTOR_ENDED, reason, superlink=True)

    def _check_pace(self, now: float, state: RunState, sight: Sight | None) -> None:
        """Tell slow from dead where a process is there, or cannot be seen."""
        waited_s = now - (self._submitted_at or now)
        if state.status == "pending" and waited_s > PENDING_S:
            reason = f"no executor has taken the run up in {PENDING_S:.0f} s"
            raise RunLostError(LossCode.RUN_NOT_TAKEN, reason, superlink=True)
        if sight and state.status != "pending" and self._app_seen_at is None and waited_s > NEVER_SEEN_S:
            reason = f"the run was taken up, and no ServerApp has started in {NEVER_SEEN_S:.0f} s"
            raise RunLostError(LossCode.APP_NOT_STARTED, reason)
        silent_s, most_s = now - self._heard_at, 2 * self.round_timeout_s + STALL_MARGIN_S
        is_seen = sight is not None and self._app_seen_at is not None
        if (self.began or is_seen) and silent_s > most_s:
            start = "" if self.began else "has not begun, and "
            reason = f"the ServerApp {start}has done nothing for {silent_s:.0f} s"
            raise RunLostError(LossCode.APP_SILENT, reason)

    def _app_is_gone(self, now: float, sight: Sight) -> bool:
        return (
            not self._apps(sight) and self._app_seen_at is not None and now - self._app_seen_at > APP_GONE_S
        )

    def _finished(self, state: RunState) -> bool:
        if state.outcome == "completed":
            return not self.has_ended or self._ended_by_event()
        if state.outcome == "stopped":
            raise TrainingError("the run was stopped through Flower's Control API: start again to go on")
        if state.lost:
            reason = "the SuperLink has heard nothing from the ServerApp for a minute"
            raise RunLostError(LossCode.APP_SILENT, reason)
        if self._has_told_its_end():
            return self._ended_by_event()
        known = self._known_error(state.details)
        if known:
            raise RunLostError(LossCode.ENVIRONMENT, str(known)) if may_pass(known) else known
        raise self._app_error(state.details or "the ServerApp ended with an exception")

    def _app_error(self, text: str) -> RunLostError:
        passes = self._app_failed is not None and self._app_failed.kind is ErrorKind.ENVIRONMENT
        return RunLostError(LossCode.ENVIRONMENT if passes else LossCode.APP_EXCEPTION, text)

    def _ended_by_event(self) -> bool:
        if self.failure is None:
            return True
        reason = self.failure.reason or "no reason was given"
        error = self._known_error(reason) or TrainingError(reason)
        if (self.failure.kind or kind_of(error)) is ErrorKind.ENVIRONMENT:
            raise RunLostError(LossCode.ENVIRONMENT, reason)
        error.passing = False
        raise error

    def _loss(self) -> RunLostError:
        """Tell a ServerApp that was killed from one that raised RuntimeError, which Flower swallows."""
        with suppress(ClusterError):  # the log of a run that is stopped has an end
            self.control.stop(self.run_id)
        if SWALLOWED in self._log():
            reason = "the app raised a RuntimeError, whose text Flower does not report"
            return RunLostError(LossCode.APP_EXCEPTION, reason)
        if self._app_failed is not None:
            return self._app_error(self._app_failed.reason or "the app raised an exception")
        return RunLostError(LossCode.APP_ENDED, "the ServerApp's process has ended")

    def _known_error(self, text: str) -> OneflowerError | None:
        """Find a failure's kind in the journal, else in the run's log: Flower hands on its text alone."""
        written = self.failure.error if self.failure is not None else ""
        names = [written] if written else RAISED.findall(self._log())
        kind = class_named(str(names[-1])) if names else None
        return None if kind is None else kind(text)

    def _log(self) -> str:
        try:
            return "".join(self.control.logs(self.run_id, timeout_s=LOG_TIMEOUT_S))
        except ClusterError:
            return ""
