"""What a supervisor knows about its training, on disk: it survives the supervisor's own death."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from oneflower.codes import GiveUpCode, LossCode
from oneflower.errors import ClusterError
from oneflower.files import lock_within, open_to_write, read_json, state_errors, write_json
from oneflower.journal import SUPERVISOR_LOCK_NAME, Entry, reduce
from oneflower.journal.codec import entry_of, record_of
from oneflower.journal.events import TrainingFinished
from oneflower.journal.migration import STATES
from oneflower.procfs import boot_id
from oneflower.supervisor.machine import Machine, State, resumed

SCHEMA: Final = 2
SCHEMAS: Final = frozenset({1, SCHEMA})
"""Schema 1 wrote the states as prose, and an empty object for a finish without an event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a training has finished; ``event`` is None for an app that writes no events."""

    event: TrainingFinished | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The content of ``training.json``.

    Attributes
    ----------
    training
        What decides the model: the run's configuration, the app (`recovery.job.describe`).
    machine
        Where the supervision stands.
    finish
        The journal's ``training_finished``; None before the end, and for an app that writes none. Flower's
        own status is not trusted with it.
    began
        Whether the ServerApp has begun: from then on FL_RESUME=never no longer throws checkpoints away.
    boot
        The boot of the machine in which this was written.
    runs
        The runs that were submitted and are not known to have ended: another run of the same app is not ours.
    claims
        A submission was broken off before its run was known: the app's runs that nobody knows are ours.
    resume
        FL_RESUME when the supervisor started last.
    """

    training: Mapping[str, Any]
    machine: Machine
    finish: Entry | None = None
    began: bool = False
    boot: str = ""
    runs: tuple[int, ...] = ()
    claims: bool = False
    resume: str = ""

    def with_resume(self, resume: str, *, goes_back: bool) -> Self:
        """Return the memory with FL_RESUME as it is now: a round is gone back to once, not at each start."""
        began = not goes_back if resume.isdecimal() else self.began
        return replace(self, resume=resume, began=began)

    @property
    def finished(self) -> Finished:
        """How the training has finished, as far as its events tell."""
        event = None if self.finish is None else self.finish.event
        return Finished(event=event if isinstance(event, TrainingFinished) else None)

    @classmethod
    def fresh(cls, training: Mapping[str, Any], *, max_restarts: int) -> Self:
        """Return the memory of a supervisor that knows nothing yet."""
        return cls(training=training, machine=Machine(max_restarts=max_restarts), boot=boot_id())

    def ended(self) -> Self:
        """Return the memory of a training that has finished, for an app that writes no event of it."""
        return replace(self, machine=replace(self.machine, state=State.FINISHED))

    def save(self, path: Path) -> None:
        """Write it whole or not at all; StateError where that is not possible."""
        written = {
            "training": dict(self.training),
            "machine": asdict(self.machine),
            "finish": None if self.finish is None else record_of(self.finish),
            "began": self.began,
            "boot": self.boot,
            "runs": list(self.runs),
            "claims": self.claims,
            "resume": self.resume,
        }
        write_json(path, {"v": SCHEMA, **written})


def load(path: Path) -> Memory | None:
    """Read what an earlier supervisor left; None when there is nothing, or nothing that can be read."""
    found = read_json(path)
    training, given = found.get("training"), found.get("machine")
    if found.get("v") not in SCHEMAS or not isinstance(training, dict):
        return None
    finish, runs = entry_of(found.get("finish")), found.get("runs")
    machine = _machine(given if isinstance(given, dict) else {})
    return Memory(
        training=training,
        machine=machine,
        finish=finish if isinstance(finish.event, TrainingFinished) else None,
        began=found.get("began") is True,
        boot=str(found.get("boot", "")),
        runs=tuple(run for run in runs if isinstance(run, int)) if isinstance(runs, list) else (),
        # An earlier version knew no runs, and held all of the app for its own.
        resume=str(found.get("resume", "")),
        claims=runs is None or found.get("claims") is True or machine.state is State.SUBMITTING,
    )


def taken_up(
    before: Memory | None,
    training: Mapping[str, Any],
    *,
    max_restarts: int,
    again: bool = False,
    runs: Iterable[int] = (),
) -> Memory:
    """Return the memory with which a supervisor starts, from the one that an earlier one left.

    A training that was given up stays so until its configuration changes, the machine is rebooted, or
    the operator says ``again``: a service that is started over and over must not train for ever in vain.
    ``runs`` are those that the journal names: they are ours where nothing else is remembered.
    """
    fresh = Memory.fresh(training, max_restarts=max_restarts)
    if before is None:
        return replace(fresh, runs=tuple(runs))
    fresh = replace(fresh, runs=before.runs, claims=before.claims)
    same = before.training == dict(training)
    kept = replace(before, training=training, boot=fresh.boot)
    machine = replace(resumed(before.machine), max_restarts=max_restarts)
    if before.machine.state is State.FINISHED or not same:
        return fresh  # whether a finished one is done for good is for `finished` to say
    if before.machine.state is State.GIVEN_UP and (again or before.boot != fresh.boot):
        return replace(kept, machine=fresh.machine)
    if again:
        machine = replace(machine, losses=0, failure="")
    return replace(kept, machine=machine)


def goes_back_now(before: Memory | None, resume: str) -> bool:
    """Whether FL_RESUME names a round that the training has not gone back to yet."""
    return resume.isdecimal() and (before is None or before.resume != resume)


def finish_of(memory: Memory | None, entries: Iterable[Entry]) -> Finished | None:
    """Return how the training has finished, from the journal or else from what is remembered; None if not.

    The journal alone tells when the supervisor was killed between the end and its own note of it.
    """
    last = reduce(entries).finish
    if last is not None:
        return Finished(event=last)
    return memory.finished if memory is not None and memory.machine.state is State.FINISHED else None


def _machine(given: Mapping[str, Any]) -> Machine:
    """Parse a machine; a damaged one starts over, which costs no more than a restart's count."""
    try:
        run, state = given["run"], str(given["state"])
        code, gave_up = given.get("code"), given.get("gave_up")
        return Machine(
            max_restarts=int(given["max_restarts"]),
            state=State(STATES.get(state, state)),
            run=None if run is None else int(run),
            losses=int(given["losses"]),
            progressed=bool(given["progressed"]),
            restart=bool(given["restart"] if "restart" in given else given["anew"]),
            failure=str(given["failure"]),
            final=bool(given["final"]),
            lenient=given.get("lenient") is not False,
            code=None if code is None else LossCode(code),
            gave_up=None if gave_up is None else GiveUpCode(gave_up),
            reason=str(given["reason"]),
        )
    except (KeyError, TypeError, ValueError):
        return Machine(max_restarts=0)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this supervisor; the kernel lets go of it however the process ends.

    Raises
    ------
    ClusterError
        Another supervisor holds it: two would stop each other's runs.
    """
    with state_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = open_to_write(folder / SUPERVISOR_LOCK_NAME, os.O_WRONLY)
    try:
        if not lock_within(descriptor, 0.0):
            raise ClusterError(
                f"another supervisor works in {folder}: end it, or give another folder with --state"
            )
        yield
    finally:
        os.close(descriptor)
