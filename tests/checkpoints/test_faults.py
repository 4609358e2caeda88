"""Each file operation of the store fails once, in every way, and the guarantee holds each time.

After the fault what loads is the newest checkpoint whose save returned, bit for bit, or the one that was
being saved; nothing is found damaged, no temporary file is left, and the next save works.
"""

import errno
import io
import os
import shutil

import pytest

from oneflower.checkpoints import CheckpointStore, retention_of
from oneflower.checkpoints.files import OsFiles
from oneflower.errors import CheckpointError, OneflowerError, StateError

from .folders import Checked, at_one_moment, committed, content_of, lay_down

CHANGES = ("make_folder", "create", "append", "write", "fsync", "rename", "unlink", "symlink", "sync_folder")
READS = ("names", "open", "read", "read_link")
OPERATIONS = CHANGES + READS
NOTED = {"evaluate": {"3": {"eval_acc": 0.5}}}


class DiedError(BaseException):
    """The process ended here. It is not an Exception: nothing in the store may catch it."""


class Fault:
    """A fault: `fire` is called at each operation with its name and the call itself."""

    def __init__(self, at):
        self.at, self.seen, self.fired = at, 0, None

    def fire(self, name, call, *arguments):
        self.seen += 1
        if self.seen != self.at:
            return self.otherwise(call, *arguments)
        self.fired = name
        return self.strike(name, call, *arguments)

    def otherwise(self, call, *arguments):
        return call(*arguments)


class Fails(Fault):
    number = errno.EIO

    def strike(self, name, call, *arguments):
        raise OSError(self.number, os.strerror(self.number))


class DiskFull(Fails):
    number = errno.ENOSPC


class Denied(Fails):
    number = errno.EACCES


class FailsForGood(Fails):
    """From the fault on, every operation that takes space or changes a name fails, until it is fixed."""

    number = errno.ENOSPC

    def fire(self, name, call, *arguments):
        if self.fired and name in ("create", "write", "symlink", "make_folder"):
            return self.strike(name, call, *arguments)
        return super().fire(name, call, *arguments)


class DoneButFailed(Fault):
    """The operation happens and an error is reported, as a rename over NFS may."""

    def strike(self, name, call, *arguments):
        call(*arguments)
        raise OSError(errno.EIO, os.strerror(errno.EIO))


class CutWrite(Fault):
    """Half of the bytes are written, then the disk is full."""

    def strike(self, name, call, *arguments):
        if name == "write":
            call(arguments[0], arguments[1][: len(arguments[1]) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class ShortWrite(Fault):
    """Half of the bytes are written and their number is returned: no error, as POSIX allows."""

    def strike(self, name, call, *arguments):
        if name != "write":
            return call(*arguments)
        return call(arguments[0], arguments[1][: max(1, len(arguments[1]) // 2)])


class Dies(Fault):
    """The process ends before the operation."""

    def otherwise(self, call, *arguments):
        if self.fired:
            raise DiedError
        return call(*arguments)

    def strike(self, name, call, *arguments):
        raise DiedError


class DiesAfter(Dies):
    """The process ends after the operation, or in the middle of a write."""

    def strike(self, name, call, *arguments):
        if name == "write":
            call(arguments[0], arguments[1][: len(arguments[1]) // 2])
        else:
            call(*arguments)
        raise DiedError


class FolderRemoved(Fault):
    """Another program removes the whole folder during the run."""

    def __init__(self, at, folder):
        super().__init__(at)
        self.folder = folder

    def strike(self, name, call, *arguments):
        shutil.rmtree(self.folder, ignore_errors=True)
        return call(*arguments)


class FaultyFiles(OsFiles):
    """The real files, with a fault before every operation."""

    def __init__(self, fault):
        self.fault = fault

    def open(self, path):
        return io.BufferedReader(FaultyRaw(self.fault, self.fault.fire("open", str, path)))


class FaultyRaw(io.FileIO):
    def __init__(self, fault, path):
        super().__init__(path)
        self.fault = fault

    def readinto(self, buffer):
        return self.fault.fire("read", super().readinto, buffer)


def _faulty(name):
    def operation(self, *arguments):
        return self.fault.fire(name, getattr(super(FaultyFiles, self), name), *arguments)

    return operation


for _name in OPERATIONS:
    if _name not in ("open", "read"):
        setattr(FaultyFiles, _name, _faulty(_name))


class Run:
    """A store with a fault, and the rounds reported as committed so far."""

    def __init__(self, root, fault=None):
        self.root = root
        self.files = FaultyFiles(fault) if fault else OsFiles()
        self.store = CheckpointStore(root, retention=retention_of(2), files=self.files, now=at_one_moment)
        self.promised = None
        self.allowed = []
        self.kept = []
        self.errors = []

    def save(self, checkpoint):
        self.allowed = [self.promised, checkpoint]
        self.store.save(checkpoint)
        self.promised, self.allowed = checkpoint, [checkpoint]

    def replace(self, checkpoint, before):
        """Save other content for the newest round; while that is set aside the one before is the newest."""
        self.kept = [self.promised, before]
        self.allowed = [self.promised, before, checkpoint]
        self.store.save(checkpoint)
        self.promised, self.allowed = checkpoint, [checkpoint]

    def rollback(self, checkpoint, between):
        self.allowed = self.kept = [self.promised, *between, checkpoint]
        self.store.rollback(checkpoint.round)
        self.promised, self.allowed = checkpoint, [checkpoint]


def first_saves(run, make):
    """A new folder and three saves, the third of which deletes the first round."""
    run.store.open()
    for number in (1, 2, 3):
        run.save(make(number))


def later_save(run, make):
    run.store.open()
    run.save(make(4))


def note(run, make):
    """Record the evaluation after the last checkpoint, which stays committed either way."""
    run.store.open()
    measured = make(3).metrics | NOTED
    run.allowed = [make(3), make(3, metrics=measured)]
    run.store.note(measured)
    run.allowed = [make(3, metrics=measured)]


def save_again(run, make):
    run.store.open()
    run.save(make(3))


def save_other_content(run, make):
    run.store.open()
    run.replace(make(3, fill=0.5), before=make(2))


def roll_back(run, make):
    run.store.open()
    run.rollback(make(1), between=[make(2)])


def start_afresh(run, make):
    run.store.open()
    run.kept = [make(3), make(2), make(1)]
    run.allowed = [*run.kept, None]
    run.store.start_afresh()
    run.promised, run.allowed = None, [None]


def resume(run, make):
    """Open the folder after a crash and load: the fault occurs during recovery."""
    run.store.open()
    run.store.latest()


SCENARIOS = {
    "first saves": ((), first_saves),
    "later save": ((1, 2, 3), later_save),
    "note": ((2, 3), note),
    "save again": ((2, 3), save_again),
    "save other content": ((2, 3), save_other_content),
    "roll back": ((1, 2, 3), roll_back),
    "start afresh": ((1, 2, 3), start_afresh),
    "resume": ((2, 3), resume),
}
# Faults of different kinds leave many folders of the same content.
CHECKED = Checked()
FAULTS = (Fails, DiskFull, Denied, FailsForGood, DoneButFailed, CutWrite, ShortWrite, Dies, DiesAfter)
CRASHES = (Dies, DiesAfter)


def prepare(root, rounds):
    """Create committed rounds, and the files that a crash in the next commit leaves."""
    lay_down(committed(*rounds), root)
    for name in ("npz", "state.npz", "json"):
        (root / f".checkpoint_round_9.{name}.tmp").write_bytes(b"half")
    (root / "checkpoint_round_9.npz").write_bytes(b"uncommitted")


def start(folder, scenario, make, fault):
    """Run a scenario with its fault; return the run and the resulting error, if any."""
    rounds, act = SCENARIOS[scenario]
    root = folder / "checkpoints"
    if rounds:
        prepare(root, rounds)
    run = Run(root, fault)
    run.promised = make(rounds[-1]) if rounds else None
    run.allowed = [run.promised]
    try:
        act(run, make)
    except DiedError:
        return run, DiedError
    except OneflowerError as error:
        return run, error
    return run, None


def check(run, make, same, kept, *, may_lose_newest=False):
    """Check the guarantee with a new store on the same folder without faults."""
    run.store._lock.release()
    newest = run.allowed + ([make(2), make(1), None] if may_lose_newest else [])
    if not CHECKED.is_new(content_of(run.root), newest, run.kept, may_lose_newest):
        return
    with CheckpointStore(run.root) as store:
        loaded = store.latest()
        assert any(same(loaded, allowed) for allowed in newest), loaded and loaded.round
        for number in store.rounds():
            store.verify(number)
            assert store.metrics_problem(number) is None
        best = run.root / "checkpoint_best.npz"
        assert best.exists() or not best.is_symlink()
        if store.rounds():
            assert (
                run.root / "checkpoint_latest.npz"
            ).resolve().name == f"checkpoint_round_{store.rounds()[-1]}.npz"
    assert all(kept(run.root, checkpoint) for checkpoint in run.kept)
    names = [path.name for path in run.root.iterdir()]
    assert not [name for name in names if name.endswith(".tmp")]
    assert may_lose_newest or not [name for name in names if "damaged" in name]
    with CheckpointStore(run.root) as store:
        store.save(make(7))
        after = [make(7), make(7, metrics=make(7).metrics | NOTED)]
        assert any(same(store.latest(), expected) for expected in after)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_guarantee_holds_whichever_operation_fails(scenario, fault, scratch, make, same, kept, count):
    number = 0
    while True:
        number += 1
        strike = fault(number)
        run, error = start(scratch / str(number), scenario, make, strike)
        if not strike.fired:
            run.store.close()
            break
        count("faults injected")
        if fault is ShortWrite:
            assert error is None
        elif fault not in CRASHES:
            assert error is None or isinstance(error, (StateError, CheckpointError))
            _check_no_litter(run, strike, error)
        # One failed read may be taken for damage: then the newest is set aside and the one before it loads.
        check(run, make, same, kept, may_lose_newest=fault in (Fails, DoneButFailed))
        shutil.rmtree(scratch / str(number), ignore_errors=True)  # a fault may have come before the folder
    assert number > 5


def _check_no_litter(run, strike, error):
    """Check that a failed save removed its temporary files, unless removing was the operation that failed."""
    if error is None or not run.store._opened or strike.fired in ("unlink", "names"):
        return
    assert not [path.name for path in run.root.iterdir() if path.name.endswith(".tmp")]


@pytest.mark.parametrize("scenario", ["first saves", "later save", "save other content"])
def test_a_folder_removed_during_the_run_is_an_error_or_created_again_and_saving_continues(
    scenario, scratch, make, same, count
):
    number = 0
    while True:
        number += 1
        folder = scratch / str(number)
        strike = FolderRemoved(number, folder / "checkpoints")
        run, error = start(folder, scenario, make, strike)
        if not strike.fired:
            run.store.close()
            break
        count("folders removed")
        assert error is None or isinstance(error, (StateError, CheckpointError))
        if not run.store._opened:  # the fault struck in open()
            run.store.open()
        run.store.save(make(8))
        assert same(run.store.latest(), make(8))
        run.store.close()


def test_the_training_continues_after_a_failed_save(root, make, same):
    """The same store saves the next round: no lock or file of the failed save blocks it."""
    strike = FailsForGood(0)
    run = Run(root, strike)
    run.store.open()
    run.save(make(1))
    strike.fired = "write"
    for number in (2, 3):
        with pytest.raises(StateError, match=f"round {number} .* No space left .* free space on it"):
            run.save(make(number))
        assert same(run.store.latest(), make(1))
        assert not list(root.glob("*round_[23]*")) + list(root.glob(".*.tmp"))
    strike.fired = None
    run.save(make(4))
    assert same(run.store.latest(), make(4))
    run.store.close()
