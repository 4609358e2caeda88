"""What a supervisor knows about its training, on disk: it survives the supervisor's own death."""

import dataclasses
import fcntl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from oneflower.errors import ClusterError
from oneflower.files import read_json, state_errors, write_json
from oneflower.journal.legacy import Event, of_training
from oneflower.procfs import boot_id
from oneflower.supervisor.machine import Machine, State, resumed

SCHEMA: Final = 1
LOCK_NAME: Final = "supervisor.lock"
_BEGAN: Final = frozenset({"run_submitted", "training_started", "training_resumed", "training_failed"})


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
        The finish marker: the journal's ``training_finished``, empty for an app that writes none.
        None before the end. Flower's own status is not trusted with it.
    began
        Whether the ServerApp has begun: from then on FL_RESUME=never no longer throws checkpoints away.
    boot
        The boot of the machine in which this was written.
    runs
        The runs that were submitted and are not known to have ended: another run of the same app is not ours.
    claims
        A submission was broken off before its run was known: the app's runs that nobody knows are ours.
    """

    training: Mapping[str, Any]
    machine: Machine
    finish: Mapping[str, Any] | None = None
    began: bool = False
    boot: str = ""
    runs: tuple[int, ...] = ()
    claims: bool = False

    @classmethod
    def fresh(cls, training: Mapping[str, Any], *, max_restarts: int) -> Self:
        """Return the memory of a supervisor that knows nothing yet."""
        return cls(training=training, machine=Machine(max_restarts=max_restarts), boot=boot_id())

    def save(self, path: Path) -> None:
        """Write it whole or not at all; StateError where that is not possible."""
        write_json(path, {"v": SCHEMA, **dataclasses.asdict(self)})


def load(path: Path) -> Memory | None:
    """Read what an earlier supervisor left; None when there is nothing, or nothing that can be read."""
    found = read_json(path)
    training, given = found.get("training"), found.get("machine")
    if found.get("v") != SCHEMA or not isinstance(training, dict):
        return None
    finish, runs = found.get("finish"), found.get("runs")
    machine = _machine(given if isinstance(given, dict) else {})
    return Memory(
        training=training,
        machine=machine,
        finish=finish if isinstance(finish, dict) else None,
        began=found.get("began") is True,
        boot=str(found.get("boot", "")),
        runs=tuple(run for run in runs if isinstance(run, int)) if isinstance(runs, list) else (),
        # An earlier version knew no runs, and held all of the app for its own.
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

    A training that was given up stays so until its configuration changes, the machine is booted anew, or
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


def finish_of(memory: Memory | None, events: Iterable[Event]) -> Mapping[str, Any] | None:
    """Return how the training has finished, from the marker or else from the journal; None if it has not.

    The journal alone tells when the supervisor was killed between the end and its marker.
    """
    last = last_finish(events)
    if last is not None:
        return last
    return memory.finish if memory is not None and memory.machine.state is State.FINISHED else None


def last_finish(events: Iterable[Event]) -> Event | None:
    """Return the last ``training_finished`` if no training has begun after it."""
    finish = None
    for event in of_training(events):
        if event["event"] == "training_finished":
            finish = event
        elif event["event"] in _BEGAN:
            finish = None
    return finish


def _machine(given: Mapping[str, Any]) -> Machine:
    """Parse a machine; a damaged one starts over, which costs no more than a restart's count."""
    try:
        run = given["run"]
        return Machine(
            max_restarts=int(given["max_restarts"]),
            state=State(given["state"]),
            run=None if run is None else int(run),
            losses=int(given["losses"]),
            progressed=bool(given["progressed"]),
            anew=bool(given["anew"]),
            failure=str(given["failure"]),
            final=bool(given["final"]),
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
        file = (folder / LOCK_NAME).open("a", encoding="ascii")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ClusterError(
                f"another supervisor works in {folder}: end it, or give another folder with --state"
            ) from None
        yield
