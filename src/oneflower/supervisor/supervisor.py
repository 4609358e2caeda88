"""Keep one training alive: carry out what the state machine says, and tell it what happens."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from oneflower.codes import GiveUpCode, LossCode
from oneflower.errors import ClusterError, OneflowerError, StateError, TrainingError
from oneflower.journal import Entry, Journal, JournalTail
from oneflower.journal import events as e
from oneflower.journal.heartbeat import forget_heartbeats, last_beat
from oneflower.kinds import may_pass
from oneflower.stalls import AwakeClock
from oneflower.supervisor import machine as m
from oneflower.supervisor.job import Job
from oneflower.supervisor.machine import Action, Machine, State
from oneflower.supervisor.memory import Memory
from oneflower.supervisor.place import Place
from oneflower.supervisor.processes import FlowerProcesses
from oneflower.supervisor.stale import Stale
from oneflower.supervisor.watch import RunLostError, Watch

T = TypeVar("T")

log = logging.getLogger(__name__)

POLL_S: Final = 0.2
TEND_EVERY_S: Final = 1.0
LOOK_EVERY_S: Final = 1.0

CHECKPOINTS_OFF: Final = (
    "checkpointing is off: the training starts from round 1 again. "
    "Set FL_CHECKPOINT_ENABLED=YES to go on from the newest checkpoint instead"
)


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """One training at one place, until it has finished or was given up.

    Attributes
    ----------
    memory, memory_file
        What is known, and where it is kept: written at every change.
    on_event
        Gets every event of the journal, also those of earlier starts.
    say
        Gets lines of text for the operator.
    """

    place: Place
    job: Job
    memory: Memory
    memory_file: Path
    journal: Journal
    on_event: Callable[[Entry], None]
    say: Callable[[str], None]
    processes_at: Callable[[str], FlowerProcesses] = FlowerProcesses
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _failure: OneflowerError | None = None
    _warned: str = ""
    _unread: str = ""
    _watch: Watch | None = None
    _processes: FlowerProcesses | None = None

    def run(self) -> e.TrainingFinished | None:
        """Train to the end; return the journal's ``training_finished``, None for an app that writes none.

        Raises
        ------
        TrainingError
            The training failed, or was lost too often in a row without a completed round.
        OneflowerError
            Of another kind, when the ServerApp ended with it (AppError: its data do not fit).
        """
        self.memory.save(self.memory_file)  # a folder that cannot be written is told before anything starts
        self._report_state("")
        action = m.ENTRY[self._machine.state]
        with JournalTail(self.journal.path) as tail:
            while action is not Action.REPORT:
                action = self._enter(self._do(action, tail))
            tail.finish()
            for entry in tail.drain():
                self.on_event(entry)
            self._unread = tail.trouble
        return self._finish()

    @property
    def _machine(self) -> Machine:
        return self.memory.machine

    def _enter(self, found: m.Input) -> Action:
        """Take what has happened in, keep the new state, and return what is to be done."""
        machine, action = m.step(self._machine, found)
        if machine == self._machine:
            return action
        moved = machine.state is not self._machine.state
        self.memory = replace(self.memory, machine=machine)
        self._save()
        if moved:
            self._report_state(machine.reason)
        return action

    def _report_state(self, reason: str) -> None:
        machine = self._machine
        log.info("supervisor state=%s reason=%s", machine.state.value, reason or "-")
        self.journal.append(e.SupervisorMoved(state=machine.state, reason=reason), run=machine.run)

    def _save(self) -> None:
        """Keep what is known; a disk that takes nothing just now does not end the training."""
        try:
            self.memory.save(self.memory_file)
        except StateError as error:
            if not may_pass(error):
                raise
            self._warn(f"{error}. The training goes on, and it is tried again")

    def _warn(self, text: str) -> None:
        """Tell the operator what goes wrong, once as long as it is the same."""
        if text != self._warned:
            log.warning("%s", text)
            self.say(text)
        self._warned = text

    def _do(self, action: Action, tail: JournalTail) -> m.Input:
        match action:
            case Action.BRING_UP:
                return self._bring_up()
            case Action.SUBMIT:
                return self._submit()
            case Action.FOLLOW:
                return self._follow(tail)
            case Action.CLEAR:
                return self._clear()
            case Action.PAUSE:
                self.sleep(self._machine.delay_s)
                return m.PauseOver()
        raise RuntimeError(f"nothing is to be done for {action}")

    def _bring_up(self) -> m.Input:
        try:
            self.place.bring_up(restart=self._machine.restart)
        except (OneflowerError, OSError) as error:
            if not may_pass(error):
                return self._failed(error)
            return m.Lost(reason=str(error), code=LossCode.SUPERLINK_DOWN, superlink=True)
        self._processes = self.processes_at(self.place.control.address)
        return m.SuperLinkUp()

    def _submit(self) -> m.Input:
        """Submit the app, after whatever an earlier supervisor or SuperLink has left of it has ended."""
        try:
            self._end_stale()
            run_id = self.place.control.submit(self.job.fab.content, self.job.config(began=self.memory.began))
        except (OneflowerError, OSError) as error:
            if not may_pass(error):
                return self._failed(error)
            return m.Lost(reason=str(error), code=LossCode.RUN_NOT_SUBMITTED)
        self.memory = replace(self.memory, runs=(*self.memory.runs, run_id))
        self.journal.append(e.RunSubmitted(app=self.job.fab.id), run=run_id)
        self._watch = self._watching(run_id, adopted=False)
        return m.Submitted(run_id)

    def _failed(self, error: Exception) -> m.Input:
        self._failure = error if isinstance(error, OneflowerError) else None
        return m.Failed(str(error))

    def _watching(self, run_id: int, *, adopted: bool) -> Watch:
        return Watch(
            run_id=run_id,
            control=self.place.control,
            sight=self._seen().look,
            work=self._seen().work,
            beat=lambda apps: last_beat(self.journal.path, run_id, [app.pid for app in apps]),
            round_timeout_s=self.job.round_timeout_s,
            adopted=adopted,
            clock=AwakeClock(self.clock),
        )

    def _seen(self) -> FlowerProcesses:
        self._processes = self._processes or self.processes_at(self.place.control.address)
        return self._processes

    def _follow(self, tail: JournalTail) -> m.Input:
        """Follow the run to its end, however it comes."""
        watch, self._watch = self._watch, None
        if watch is None:  # the run of a supervisor before this one
            self.say(f"the training goes on: run {self._machine.run} is followed again")
            watch = self._watching(self._machine.run or 0, adopted=True)
        try:
            self._until_over(watch, tail)
        except RunLostError as error:
            return m.Lost(reason=str(error), code=error.code, superlink=error.superlink)
        except OneflowerError as error:
            return self._failed(error)
        self.memory = replace(self.memory, finish=watch.finish)
        return m.Finished()

    def _until_over(self, watch: Watch, tail: JournalTail) -> None:
        """Return when the run has finished well; every other end is an exception."""
        watch.catch_up = lambda: self._drain(watch, tail, all_written=True)
        next_tend = next_look = self.clock()
        try:
            while True:
                self._drain(watch, tail)
                now = self.clock()
                if now >= next_tend:
                    next_tend = now + TEND_EVERY_S
                    self._patiently(self.place.tend)
                if now >= next_look or watch.has_ended:
                    next_look = now + LOOK_EVERY_S
                    if self._patiently(watch.look):
                        tail.finish()  # its last event was written before the run ended
                        return
                self.sleep(POLL_S)
        finally:
            self._drain(watch, tail)

    def _patiently(self, act: Callable[[], T]) -> T | None:
        """Do it now, or the next time where an error of the environment prevents it."""
        try:
            return act()
        except (ClusterError, StateError, OSError) as error:
            if not may_pass(error):
                raise
            self._warn(f"{error}. The training goes on, and it is tried again")
            return None

    def _drain(self, watch: Watch, tail: JournalTail, *, all_written: bool = False) -> None:
        rounds = watch.rounds
        for entry in tail.drain(all_written=all_written):
            watch.take(entry)
            self.on_event(entry)
        if watch.rounds > rounds:
            self._enter(m.RoundCompleted())
        if watch.kept and not self.memory.began:
            self.memory = replace(self.memory, began=True)
            self._save()

    def _clear(self) -> m.Input:
        """Write the loss down and end what is left of the run."""
        machine = self._machine
        lost = e.RunLost(
            code=machine.code or LossCode.OTHER,
            reason=machine.reason,
            restarts=machine.losses,
            delay_s=0.0 if machine.final else machine.delay_s,
        )
        self.journal.append(lost, run=machine.run)
        if not (machine.final or self.job.checkpoints):
            self._warn(CHECKPOINTS_OFF)
        try:
            self._end_stale()
        except (ClusterError, OSError) as error:
            # A SuperLink that is gone has no run; one that comes back is asked before the next submission.
            log.info("stale runs not ended now reason=%s", error)
        return m.Cleared()

    def _end_stale(self) -> None:
        """End what is left of our runs; from then on there is none."""
        Stale(
            app=self.job.fab.id,
            runs=self.memory.runs,
            claims=self.memory.claims,
            control=self.place.control,
            processes=self._seen(),
            warn=self._warn,
            clock=self.clock,
            sleep=self.sleep,
        ).end()
        forget_heartbeats(self.journal.path, self.memory.runs)
        self.memory = replace(self.memory, runs=(), claims=False)

    def stop_run(self) -> None:
        """Stop the run that is followed: the operator ends the training with its supervisor."""
        run = self._machine.run
        if run is not None:
            self.place.control.stop(run)
            self.say(f"run {run} was stopped; its checkpoints are kept, the next start goes on from there")

    def _finish(self) -> e.TrainingFinished | None:
        machine = self._machine
        forget_heartbeats(self.journal.path, self.memory.runs)
        if machine.state is State.FINISHED:
            if self._unread and self.memory.finish is None:
                raise StateError(
                    f"the training has finished, and its journal {self.journal.path} cannot be read: "
                    f"{self._unread}. How it ended is not known; mend that and run the same command again"
                )
            return self.memory.finished.event
        code, losses = machine.gave_up or GiveUpCode.OTHER, machine.losses
        self.journal.append(e.TrainingGaveUp(code=code, reason=machine.reason, restarts=losses))
        if self._failure is not None:
            raise self._failure
        tails = self.place.tails()
        raise TrainingError(f"{machine.reason}\n{tails}" if tails else machine.reason)
