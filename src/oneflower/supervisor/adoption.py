"""Keep alive what somebody else submits: a run of `flwr run` is submitted again when it is lost."""

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

from oneflower.codes import Submitter
from oneflower.errors import ClusterError, OneflowerError, StateError
from oneflower.files import read_bytes
from oneflower.flower.control import RunState
from oneflower.flower.fab import Fab, stored_bundle
from oneflower.flower.fab_file import MOST_BYTES
from oneflower.foreign_text import shown
from oneflower.journal import Journal
from oneflower.journal import events as e
from oneflower.kinds import may_pass
from oneflower.supervisor.adopted import (
    MEMORY_NAME,
    Adopted,
    Ledger,
    forget_request,
    is_let_go,
    keep,
    kept,
    runs_of,
)
from oneflower.supervisor.job import Job
from oneflower.supervisor.machine import ENDS
from oneflower.supervisor.memory import Memory, load, taken_up
from oneflower.supervisor.place import Place
from oneflower.supervisor.supervisor import Supervisor

log = logging.getLogger(__name__)

POLL_S: Final = 1.0
LOOK_AROUND_EVERY_S: Final = 10.0
# A run that was just submitted has no ServerApp yet; after so long it is watched all the same.
BEGINS_WITHIN_S: Final = 180.0


class LetGoError(Exception):
    """Somebody has asked to keep the run alive no longer; it is no error of anything."""


class Follow(Protocol):
    """Makes a supervisor of one training."""

    def __call__(self, job: Job, memory: Memory, file: Path, place: Place) -> Supervisor:
        """Return it; ``file`` keeps its memory."""


@dataclass(slots=True, kw_only=True)
class Adopter:
    """Adopt one run after the other, and keep each alive to its end.

    One at a time: the checkpoint folder of the operator's settings holds one training. Others wait,
    unwatched, and are adopted when the one before has ended, if they run then.

    Attributes
    ----------
    folder
        Keeps the bundle, the run-config and the supervisor's memory.
    bundles
        Where the SuperLink keeps the bundles of submitted runs.
    run_config
        The operator's, used for what neither the app nor its submission says.
    adopted
        Called when a run was taken over.
    """

    place: Place
    folder: Path
    bundles: Path
    run_config: Mapping[str, Any]
    max_restarts: int
    journal: Journal
    follow: Follow
    say: Callable[[str], None]
    adopted: Callable[[Fab], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _ledger: Ledger = field(default_factory=Ledger)
    _told: set[int] = field(default_factory=set)

    def run(self) -> NoReturn:
        """Adopt and keep alive, until a signal.

        Raises
        ------
        StateError
            What is to be remembered cannot be written, or the journal of a finished training not be read.
        """
        self._ledger = kept(self.folder)
        if self._ledger.current is None:
            self.say("waiting for a run that somebody submits with `flwr run`")
        while True:
            self.once()

    def once(self) -> None:
        """Keep the adopted run alive to its end; adopt one first where there is none."""
        if self._ledger.current is None:
            self._adopt_next()
        current = self._ledger.current
        if current is not None:
            self._keep_alive(current)

    def _adopt_next(self) -> None:
        self.place.bring_up(restart=False)
        while self._ledger.current is None:
            for run in self._candidates():
                if self._adopt(run):
                    return
            self.sleep(POLL_S)

    def _candidates(self) -> list[RunState]:
        """Return runs that are not finished and not settled, in the order of their submission."""
        try:
            known = self.place.control.runs()
        except ClusterError as error:
            log.info("runs not listed reason=%s", error)
            self.place.bring_up(restart=False)
            return []
        found = [run for run in known if not run.finished and run.run_id not in self._ledger.settled]
        return sorted(found, key=lambda run: run.submitted_at)

    def _adopt(self, run: RunState) -> bool:
        """Keep what is needed to submit the run again; a run without it is left alone, and named.

        Whoever may submit a run has written its bundle and its run-config: whatever they raise is the run's.
        """
        try:
            found = Adopted(run=run.run_id, bundle=self._bundle(run), override=run.override)
            fab = self._job(found).fab
        except Exception as error:  # noqa: BLE001 - see above
            self._leave(run.run_id, f" of {run.app}", error)
            return False
        (self.folder / MEMORY_NAME).unlink(missing_ok=True)
        ledger = replace(self._ledger, current=found)
        keep(self.folder, ledger)
        self._ledger = ledger
        self.journal.append(e.RunSubmitted(app=fab.id, by=Submitter.PERSON), run=run.run_id)
        self.say(
            f"run {run.run_id} of {fab.id} {fab.version} is adopted: it is submitted again if it is lost"
        )
        self.adopted(fab)
        return True

    def _leave(self, run_id: int, of_app: str, error: Exception) -> None:
        """Say why a run is not kept alive, and settle it: it does not come again at the next start."""
        reason = error if isinstance(error, OneflowerError) else f"{type(error).__name__}: {error}"
        if not isinstance(error, OneflowerError):
            log.warning("an adopted run raised what nobody expected", exc_info=error)
        self.say(f"run {run_id}{of_app} is not submitted again when it is lost: {shown(str(reason))}")
        self._settle([run_id])

    def _job(self, adopted: Adopted) -> Job:
        """Return what is submitted again; all that the run's author has written is read here."""
        job = Job(
            fab=adopted.fab(),
            run_config=adopted.run_config(self.run_config),
            max_restarts=self.max_restarts,
        )
        job.describe()
        job.config(began=True)
        return job

    def _bundle(self, run: RunState) -> bytes:
        file = stored_bundle(self.bundles, run.bundle)
        try:
            content = read_bytes(file, MOST_BYTES, follow=False)
        except OSError as error:
            raise StateError(f"its bundle {file} cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != run.bundle:
            raise StateError(f"its bundle {file} is not the one that was submitted")
        return content

    def _keep_alive(self, current: Adopted) -> None:
        file = self.folder / MEMORY_NAME
        try:
            job = self._job(current)
        except Exception as error:  # noqa: BLE001 - this release may refuse what the one before has adopted
            self._leave(current.run, "", error)
            return
        before = load(file)
        if before is not None and before.machine.state in ENDS:
            self._settle(runs_of(self.folder, current))
            return
        memory = taken_up(before, job.describe(), max_restarts=self.max_restarts, runs=[current.run])
        run = current.run if before is None else memory.machine.run
        # Somebody else has submitted it: all that is submitted from now on is a resume.
        machine = replace(memory.machine, lenient=False, run=run)
        supervisor = self.follow(
            job, replace(memory, machine=machine, began=True), file, self._watched(current)
        )
        if before is None:
            self._wait_for_its_start(current.run)
        try:
            supervisor.run()
            self.say(f"the training of run {current.run} has finished")
        except LetGoError:
            self.journal.append(e.RunLetGo(), run=supervisor.memory.machine.run)
            self.say(f"run {current.run} is let go: it goes on, and is not submitted again")
        except OneflowerError as error:
            if supervisor.memory.machine.state not in ENDS and may_pass(error):
                raise
            self.say(f"the training of run {current.run} has ended: {error}")
        except OSError:  # this machine's, not the run's
            raise
        except Exception as error:  # the next start would take it up, and end, too
            log.exception("the run that is kept alive raised what nobody expected run=%d", current.run)
            self.say(f"the training of run {current.run} has ended: {type(error).__name__}: {error}")
        own = (supervisor.memory.machine.run, *supervisor.memory.runs)
        self._settle([current.run, *(run for run in own if run is not None)])
        forget_request(self.folder)

    def _wait_for_its_start(self, run_id: int) -> None:
        """Return when the run's ServerApp has started, or has ended: a watch expects to see it."""
        deadline = self.clock() + BEGINS_WITHIN_S
        while self.clock() < deadline:
            try:
                known = {run.run_id: run for run in self.place.control.runs()}
            except ClusterError:
                return
            if run_id not in known or known[run_id].status not in ("pending", "starting"):
                return
            self.sleep(POLL_S)

    def _settle(self, runs: list[int] | set[int]) -> None:
        self._ledger = self._ledger.settle(runs)
        keep(self.folder, self._ledger)

    def _watched(self, current: Adopted) -> Place:
        return _Watched(self.place, lambda: self._check(current), lambda: self._name_others(current))

    def _check(self, current: Adopted) -> None:
        if is_let_go(self.folder, runs_of(self.folder, current)):
            raise LetGoError

    def _name_others(self, current: Adopted) -> None:
        """Say once of each other run that it is not kept alive now."""
        own = runs_of(self.folder, current) | self._told
        for run in self._candidates():
            if run.run_id not in own:
                self._told.add(run.run_id)
                self.say(
                    f"run {run.run_id} of {run.app} is not kept alive while run {current.run} is: one "
                    "training per checkpoint folder. It is adopted afterwards, if it runs then"
                )


class _Watched:
    """A place at which it is looked, now and then, whether the run is still to be kept alive."""

    def __init__(self, place: Place, check: Callable[[], None], look_around: Callable[[], None]) -> None:
        self._place = place
        self._check = check
        self._look_around = look_around
        self._next_look = 0.0
        self.control = place.control

    def bring_up(self, *, restart: bool) -> None:
        self._check()
        self._place.bring_up(restart=restart)
        self._check()

    def tend(self) -> None:
        self._check()
        self._place.tend()
        if time.monotonic() > self._next_look:
            self._next_look = time.monotonic() + LOOK_AROUND_EVERY_S
            self._look_around()

    def tails(self) -> str:
        return self._place.tails()
