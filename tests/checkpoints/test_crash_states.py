"""Every state in which a power cut may leave the disk, and the guarantee in each of them.

As in Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014): the store's operations are
recorded; for every moment, data that were not fsynced are dropped, cut or zeroed, and names that were changed
without a following sync of the folder are there or not in any combination. What POSIX does not promise is
taken away.
"""

import errno
import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from oneflower.checkpoints import HISTORY, CheckpointStore, retention_of
from oneflower.checkpoints.files import OsFiles
from oneflower.errors import StateError

from .folders import Checked, at_one_moment, committed, content_of, lay_down

FEW = 6  # up to so many unsynced names, every combination of them is tried


class RecordingFiles(OsFiles):
    """The real files, with a list of every operation that changes the disk."""

    def __init__(self):
        self.operations = []
        self.pointers_fail = False
        self.last_sync_fails = self._committed = False
        self._descriptors = {}
        self._numbers = itertools.count()

    def note(self, *operation):
        self.operations.append(operation)

    def make_folder(self, path):
        super().make_folder(path)
        self.note("make_folder", path)

    def create(self, path):
        if self.pointers_fail and "metadata" in path.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        descriptor = super().create(path)
        self._descriptors[descriptor] = next(self._numbers)
        self.note("create", path.name, self._descriptors[descriptor])
        return descriptor

    def append(self, path):
        descriptor = super().append(path)
        self._descriptors[descriptor] = next(self._numbers)
        self.note("append", path.name, self._descriptors[descriptor])
        return descriptor

    def write(self, descriptor, data):
        written = super().write(descriptor, data)
        self.note("write", self._descriptors[descriptor], bytes(data[:written]))
        return written

    def fsync(self, descriptor):
        super().fsync(descriptor)
        self.note("fsync", self._descriptors[descriptor])

    def rename(self, old, new):
        super().rename(old, new)
        self.note("rename", old.name, new.name)
        self._committed = new.name.startswith("checkpoint_round") and new.suffix == ".json"

    def unlink(self, path):
        super().unlink(path)
        self.note("unlink", path.name)

    def symlink(self, target, path):
        if self.pointers_fail:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().symlink(target, path)
        self.note("symlink", target, path.name)

    def sync_folder(self, path):
        if self.last_sync_fails and self._committed:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync_folder(path)
        self.note("sync_folder", path)


@dataclass
class Disk:
    """The possible content of the disk after some operations: durable names and pending changes."""

    root: Path
    exists: bool = True
    exists_durably: bool = True
    durable: dict = field(default_factory=dict)
    names: dict = field(default_factory=dict)
    pending: list = field(default_factory=list)
    written: dict = field(default_factory=dict)
    synced: dict = field(default_factory=dict)
    opened: dict = field(default_factory=dict)

    @classmethod
    def of(cls, root):
        """Return the disk with a folder of which everything is durable."""
        disk = cls(root, exists=root.exists(), exists_durably=root.exists())
        for name, what in sorted((content_of(root) or {}).items()):
            if isinstance(what, str):
                disk.durable[name] = ("link", what)
            else:
                disk.written[name] = disk.synced[name] = what
                disk.durable[name] = ("file", name)
        disk.names = dict(disk.durable)
        return disk

    def apply(self, operation):  # noqa: C901 - one case an operation
        match operation:
            case ("make_folder", path):
                self.exists = self.exists or path == self.root
            case ("create", name, file):
                self.written[file] = b""
                self._change((name, ("file", file)))
            case ("append", name, file) if name in self.names:
                self.opened[file] = self.names[name][1]
            case ("append", name, file):
                self.apply(("create", name, file))
            case ("write", file, data):
                self.written[self.opened.get(file, file)] += data
            case ("fsync", file):
                file = self.opened.get(file, file)
                self.synced[file] = self.written[file]
            case ("rename", old, new):
                self._change((old, None), (new, self.names[old]))
            case ("unlink", name):
                self._change((name, None))
            case ("symlink", target, name):
                self._change((name, ("link", target)))
            case ("sync_folder", path) if path == self.root:
                self.durable, self.pending = dict(self.names), []
            case ("sync_folder", path) if path == self.root.parent:
                self.exists_durably = self.exists

    def _change(self, *entries):
        self.pending.append(entries)
        _enter(self.names, entries)

    def states(self):
        """Yield each possible content of the folder: name to bytes or link; None for no folder at all."""
        if not self.exists_durably:
            yield None
        if not self.exists:
            return
        for kept in _combinations(self.pending):
            names = dict(self.durable)
            for entries in kept:
                _enter(names, entries)
            for fate in (lambda w, s: w, lambda w, s: s, _half, _zeros):
                yield {
                    name: what if kind == "link" else self._bytes(what, fate)
                    for name, (kind, what) in names.items()
                }

    def _bytes(self, file, fate):
        written, synced = self.written[file], self.synced.get(file, b"")
        return written if written == synced else fate(written, synced)


def _half(written, synced):
    return written[: (len(synced) + len(written)) // 2]


def _zeros(written, synced):
    return synced + b"\0" * (len(written) - len(synced))


def _enter(names, entries):
    for name, what in entries:
        if what is None:
            names.pop(name, None)
        else:
            names[name] = what


def _combinations(pending):
    """Yield the unsynced changes that reached the disk: all combinations of a few, else the likely ones."""
    if len(pending) <= FEW:
        for chosen in itertools.product((False, True), repeat=len(pending)):
            yield list(itertools.compress(pending, chosen))
        return
    for length in range(len(pending) + 1):
        yield pending[:length]
        yield pending[length:]
    for index in range(len(pending)):
        yield pending[:index] + pending[index + 1 :]


@dataclass
class Promise:
    """Which rounds may load after a crash in this state, and which models must still be in the folder."""

    allowed: list
    kept: list
    link_shows: list
    history: bytes = b""


class Scene:
    """A recorded store: its operations, and which guarantee holds after how many of them."""

    def __init__(self, root, retention=0):
        self.files = RecordingFiles()
        self.store = CheckpointStore(
            root, retention=retention_of(retention), files=self.files, now=at_one_moment
        )
        self.promises = []

    def promise(self, *allowed, kept=(), link_shows=(), history=b""):
        promised = Promise(list(allowed), list(kept), list(link_shows), history)
        self.promises.append((len(self.files.operations), promised))

    def at(self, moment):
        """Return the guarantee in force after `moment` operations."""
        return [promise for after, promise in self.promises if after <= moment][-1]


def first_saves(scene, make):
    scene.promise(None)
    scene.store.open()
    newest = None
    for number in (1, 2):
        scene.promise(newest, make(number), link_shows=[newest, make(number)] if newest else [])
        scene.store.save(make(number))
        newest = make(number)
        scene.promise(newest, link_shows=[newest])


def retention_at_work(scene, make):
    scene.promise(make(3), link_shows=[make(3)])
    scene.store.open()
    newest = make(3)
    for number in (4, 5):
        saved = make(number)
        scene.promise(newest, saved, link_shows=[newest, saved])
        scene.store.save(saved)
        newest = saved
        scene.promise(newest, link_shows=[newest])


def no_room_for_the_pointers(scene, make):
    """The disk is full right after the commit: the links stay old, the round is committed."""
    scene.promise(make(3))
    scene.store.open()
    scene.files.pointers_fail = True
    scene.promise(make(3), make(4))
    scene.store.save(make(4))
    scene.promise(make(4))


def no_room_for_the_pointers_and_retention_at_work(scene, make):
    """The links cannot be replaced, and the round that they point at is deleted."""
    no_room_for_the_pointers(scene, make)
    scene.promise(make(4), make(5))
    scene.store.save(make(5))
    scene.promise(make(5))


def note_the_last_evaluation(scene, make):
    """Metrics recorded after the last checkpoint make an earlier round the best, or are lost."""
    scene.promise(make(3), link_shows=[make(3)])
    scene.store.open()
    measured = {**make(3).metrics, "evaluate": {"3": {"eval_acc": 0.5}}}
    scene.promise(make(3), make(3, metrics=measured), link_shows=[make(3)])
    scene.store.note(measured)
    scene.promise(make(3, metrics=measured), link_shows=[make(3)])


def save_again(scene, make):
    scene.promise(make(3), link_shows=[make(3)])
    scene.store.open()
    scene.store.save(make(3))
    scene.promise(make(3), kept=[make(2), make(3)], link_shows=[make(3)])


def save_again_after_the_last_sync_failed(scene, make):
    """The manifest is renamed, but not durably, and the save reported a failure."""
    scene.promise(make(3))
    scene.store.open()
    scene.files.last_sync_fails = scene.files.pointers_fail = True
    scene.promise(make(3), make(4))
    with pytest.raises(StateError):
        scene.store.save(make(4))
    scene.files.last_sync_fails = False
    scene.store.save(make(4))
    scene.promise(make(4))


def save_other_content(scene, make):
    kept = [make(2), make(3)]
    scene.promise(make(3), kept=kept, link_shows=[make(3)])
    scene.store.open()
    other = make(3, fill=0.5)
    scene.promise(make(3), make(2), other, kept=kept)
    scene.store.save(other)
    scene.promise(other, kept=[*kept, other], link_shows=[other])


def roll_back(scene, make):
    kept = [make(1), make(2), make(3)]
    scene.promise(make(3), kept=kept, link_shows=[make(3)])
    scene.store.open()
    scene.promise(make(3), make(2), make(1), kept=kept)
    scene.store.rollback(1)
    scene.promise(make(1), kept=kept, link_shows=[make(1)])


def reject(scene, make):
    """A training goes back from a round that nobody can train from."""
    kept = [make(1), make(2), make(3)]
    scene.promise(make(3), kept=kept, link_shows=[make(3)])
    scene.store.open()
    scene.promise(make(3), make(2), kept=kept)
    scene.store.reject(3)
    scene.promise(make(2), kept=kept, link_shows=[make(2)])


def start_afresh(scene, make):
    kept = [make(1), make(2), make(3)]
    scene.promise(make(3), kept=kept, link_shows=[make(3)])
    scene.store.open()
    scene.promise(make(3), make(2), make(1), None, kept=kept)
    scene.store.start_afresh()
    scene.promise(None, kept=kept)


def start_afresh_and_save(scene, make):
    """The metrics of the rounds that were set aside are kept beside those of the new training."""
    kept = [make(1), make(2), make(3)]
    history = (scene.store.root / HISTORY).read_bytes()
    scene.promise(make(3), kept=kept, history=history)
    scene.store.open()
    scene.promise(make(3), make(2), make(1), None, kept=kept, history=history)
    scene.store.start_afresh()
    anew = make(1, fill=0.5)
    scene.promise(None, anew, kept=kept, history=history)
    scene.store.save(anew)
    scene.promise(anew, kept=[*kept, anew], history=history)


def set_damage_aside(scene, make):
    kept = [make(1), make(2)]
    scene.promise(make(2), kept=kept)
    scene.store.open()
    scene.store.latest()
    scene.promise(make(2), kept=kept, link_shows=[make(2)])


SCENES = {
    "first saves": ((), 0, first_saves),
    "retention at work": ((1, 2, 3), 2, retention_at_work),
    "no room for the pointers": ((2, 3), 0, no_room_for_the_pointers),
    "no room for the pointers, retention at work": (
        (2, 3),
        2,
        no_room_for_the_pointers_and_retention_at_work,
    ),
    "note the last evaluation": ((2, 3), 0, note_the_last_evaluation),
    "save again": ((2, 3), 0, save_again),
    "save again after the last sync failed": ((2, 3), 0, save_again_after_the_last_sync_failed),
    "save other content": ((2, 3), 0, save_other_content),
    "roll back": ((1, 2, 3), 0, roll_back),
    "reject": ((1, 2, 3), 0, reject),
    "start afresh": ((1, 2, 3), 0, start_afresh),
    "start afresh and save": ((1, 2, 3), 0, start_afresh_and_save),
    "set damage aside": ((1, 2, 3), 0, set_damage_aside),
}


@pytest.fixture(params=SCENES)
def scene(request, scratch, make):
    """Return a recorded scene with the disk as it was before its first operation."""
    rounds, retention, act = SCENES[request.param]
    root = scratch / "recorded"
    if rounds:
        lay_down(committed(*rounds), root)
    if request.param == "set damage aside":
        (root / "checkpoint_round_3.state.npz").write_bytes(b"rot")
    disk = Disk.of(root)
    recorded = Scene(root, retention)
    act(recorded, make)
    recorded.store.close()
    recorded.damage = request.param == "set damage aside"
    return recorded, disk


def check_raw(root, promise):
    """Check what a tool that does not know the store finds before the store cleans up."""
    link = root / "checkpoint_latest.npz"
    if promise.link_shows:
        with np.load(link) as model:
            shown = {name: model[name].tobytes() for name in model}
        models = [{n: a.tobytes() for n, a in c.arrays.items()} for c in promise.link_shows]
        assert shown in models
    elif os.path.lexists(link):
        assert not link.exists() or np.load(link).files
    best = root / "checkpoint_best.npz"
    assert best.exists() or not best.is_symlink(), "the link to the best model dangles"
    metadata = root / "checkpoint_metadata.json"
    assert not metadata.exists() or metadata.read_bytes().endswith(b"\n}\n")


def check(root, promise, same, kept, *, damage):
    """Check the guarantee as the next process sees the folder."""
    with CheckpointStore(root) as store:
        before = {path.name for path in root.iterdir()}
        loaded = store.latest()
        assert any(same(loaded, allowed) for allowed in promise.allowed), loaded and loaded.round
        for number in store.rounds():
            store.verify(number)
            assert store.metrics_problem(number) is None, "a mere crash looks like damaged metrics"
    names = {path.name for path in root.iterdir()}
    assert not [name for name in names if name.endswith(".tmp")]
    assert damage or not [name for name in names | before if "damaged" in name], (
        "a mere crash looks like damage"
    )
    if promise.history:
        files = [path for path in root.iterdir() if path.is_file()]
        assert any(path.read_bytes().startswith(promise.history) for path in files), "metrics are lost"
    for checkpoint in promise.kept:
        assert kept(root, checkpoint), f"round {checkpoint.round} is lost"


def crash_states(recorded, disk):
    """Yield each distinct state with its guarantee, over every moment of the recording."""
    seen = set()
    for moment in range(len(recorded.files.operations) + 1):
        if moment:
            disk.apply(recorded.files.operations[moment - 1])
        promise = recorded.at(moment)
        for state in disk.states():
            key = (id(promise), None if state is None else frozenset(state.items()))
            if key not in seen:
                seen.add(key)
                yield state, promise


# A first crash and a crash in its recovery leave many folders of the same content.
CHECKED = Checked()


def is_new(state, promise, damage):
    return CHECKED.is_new(state, promise.allowed, promise.kept, promise.history, damage)


def test_the_guarantee_holds_in_every_state_a_power_cut_may_leave(scene, scratch, same, kept, count):
    recorded, disk = scene
    for number, (state, promise) in enumerate(crash_states(recorded, disk)):
        count("crash states")
        root = scratch / str(number) / "checkpoints"
        lay_down(state, root)
        check_raw(root, promise)
        if is_new(state, promise, recorded.damage):
            check(root, promise, same, kept, damage=recorded.damage)


def test_the_guarantee_holds_when_the_power_fails_again_while_the_store_recovers(
    scene, scratch, same, kept, count
):
    """The `open` that cleans up a crash is interrupted at every operation, for every 7th first crash."""
    recorded, disk = scene
    for number, (state, promise) in enumerate(itertools.islice(crash_states(recorded, disk), 0, None, 7)):
        first = scratch / f"first-{number}" / "recorded"
        lay_down(state, first)
        before = Disk.of(first)
        again = Scene(first)
        again.promise(*promise.allowed, kept=promise.kept, history=promise.history)
        with again.store:
            again.store.latest()
        for second, (worse, _) in enumerate(crash_states(again, before)):
            count("crash states in recovery")
            if is_new(worse, promise, recorded.damage):
                root = scratch / f"second-{number}-{second}" / "checkpoints"
                lay_down(worse, root)
                check(root, promise, same, kept, damage=recorded.damage)
