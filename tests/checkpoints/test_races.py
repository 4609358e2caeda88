"""A round that is removed or saved again while it is read: each race separately."""

import os

import pytest

from oneflower.checkpoints import CheckpointReader, CheckpointStore, MissingRoundError, retention_of
from oneflower.checkpoints.files import OsFiles
from oneflower.errors import CheckpointError


def test_a_manifest_that_reappears_is_read_again(root, make, same):
    """The round is set aside and committed with other content between the failed open and the listing."""
    with CheckpointStore(root) as store:
        store.save(make(1))

        class Racing(OsFiles):
            failed = 0

            def open(self, path):
                if path.name == "checkpoint_round_1.json" and self.failed < 1:
                    self.failed += 1
                    raise FileNotFoundError(2, "No such file or directory", str(path))
                return super().open(path)

        for ask in ("verify", "load", "list", "latest"):
            reader = CheckpointReader(root, files=Racing())
            found = getattr(reader, ask)(*([1] if ask in ("verify", "load") else []))
            assert ask != "list" or [info.problem for info in found] == [None]
            assert ask not in ("load", "latest") or same(found, make(1))


def test_a_round_removed_while_it_is_loaded_is_reported_as_removed(root, make):
    with CheckpointStore(root, retention=retention_of(2)) as store:
        for number in (1, 2, 3):
            store.save(make(number, metrics={}))

        class Racing(OsFiles):
            """The retention of a concurrent training: it deletes the round once its manifest was read."""

            def open(self, path):
                if path.name == "checkpoint_round_2.npz":
                    store.save(make(4, metrics={}))
                return super().open(path)

        for read in ("verify", "load"):
            reader = CheckpointReader(root, files=Racing())
            with pytest.raises(MissingRoundError, match=r"round 2 .* was removed while it was read"):
                getattr(reader, read)(2)
            store.rollback(3)
            for path in root.glob("*_round_2*"):
                path.unlink()
            store.start_afresh()
            for number in (1, 2, 3):
                store.save(make(number, metrics={}))


def test_a_round_that_is_saved_again_while_it_is_read_is_read_again(root, make, same):
    with CheckpointStore(root) as store:
        store.save(make(1))
        store.save(make(2))
        saved = []

        class Racing(OsFiles):
            def open(self, path):
                if path.name == "checkpoint_round_2.npz" and not saved:
                    saved.append(store.save(make(2, fill=0.5)))
                return super().open(path)

        assert same(CheckpointReader(root, files=Racing()).load(2), make(2, fill=0.5))


def test_damage_that_persists_is_reported(root, make):
    with CheckpointStore(root) as store:
        store.save(make(1))
    (root / "checkpoint_round_1.npz").unlink()
    reader = CheckpointReader(root)
    for read in (reader.verify, reader.load):
        with pytest.raises(
            CheckpointError, match=r"is damaged: checkpoint_round_1.npz is missing"
        ) as refusal:
            read(1)
        assert not isinstance(refusal.value, MissingRoundError)
    os.truncate(root / "checkpoint_round_1.json", 10)
    with pytest.raises(CheckpointError, match="is damaged: the manifest"):
        reader.verify(1)
