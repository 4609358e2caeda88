"""Real disks that are full, read-only or of another user. Tests that mount are skipped without root."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from oneflower.checkpoints import CheckpointReader, CheckpointStore, retention_of
from oneflower.errors import StateError

MEGABYTE = 1 << 20


@pytest.fixture
def disk(tmp_path):
    """Return a tmpfs of 1 MiB; skip the test if none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(disk, how):
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


@pytest.mark.root
def test_a_disk_that_fills_up_keeps_what_is_committed_and_is_used_again_when_freed(disk, make, same):
    filler = disk / "filler"
    with CheckpointStore(disk / "c", retention=retention_of(2)) as store:
        store.save(make(1, size=8000))
        filler.write_bytes(b"x" * ((os.statvfs(disk).f_bavail - 10) * 4096))
        for number in (2, 3):
            with pytest.raises(StateError, match=f"round {number} .* disk is full"):
                store.save(make(number, size=8000))
            assert same(store.latest(), make(1, size=8000))
            assert not list((disk / "c").glob(".*.tmp"))
        filler.unlink()
        store.save(make(4, size=8000))
        assert same(store.latest(), make(4, size=8000))


@pytest.mark.root
def test_a_disk_of_any_free_size_never_holds_a_partial_checkpoint(disk, make, same, count):
    """The free space shrinks page by page, so that the disk is full in the middle of every file."""
    filler = disk / "filler"
    for pages in range(0, 60, 2):
        shutil.rmtree(disk / "c", ignore_errors=True)
        with CheckpointStore(disk / "c") as store:
            store.save(make(1, size=2000))
            free = os.statvfs(disk).f_bavail
            filler.write_bytes(b"x" * (max(0, free - pages) * 4096))
            try:
                store.save(make(2, size=2000))
                allowed = [2]
            except StateError:
                allowed = [1]
            count("full disks")
        filler.unlink()
        with CheckpointStore(disk / "c") as store:
            newest = store.latest()
            assert newest.round in allowed
            assert same(newest, make(newest.round, size=2000))


@pytest.mark.root
def test_a_full_disk_is_found_at_opening(disk, make):
    with CheckpointStore(disk / "c") as store:
        with pytest.raises(StateError, match="bytes free"):
            store.require_space(make(1, size=100_000).arrays)
        (disk / "filler").write_bytes(b"x" * (os.statvfs(disk).f_bavail * 4096))
    with pytest.raises(StateError, match="disk is full"):
        CheckpointStore(disk / "c").open()


@pytest.mark.root
def test_a_read_only_disk_is_found_at_opening_and_can_still_be_read(disk, make, same):
    with CheckpointStore(disk / "c") as store:
        store.save(make(1))
        store.save(make(2))
    (disk / "c" / "checkpoint_round_2.npz").write_bytes(b"rot")
    remount(disk, "ro")
    with pytest.raises(StateError, match="mounted read-only"):
        CheckpointStore(disk / "c").open()
    assert same(CheckpointReader(disk / "c").latest(), make(1))


@pytest.mark.root
def test_a_disk_that_turns_read_only_during_the_run_fails_only_the_save(disk, make, same):
    with CheckpointStore(disk / "c") as store:
        store.save(make(1))
        store._lock.release()  # an open file would keep the disk from being remounted
        remount(disk, "ro")
        with pytest.raises(StateError, match="mounted read-only"):
            store.save(make(2))
        assert same(store.latest(), make(1))
        remount(disk, "rw")
        store.save(make(3))
        assert same(store.latest(), make(3))


@pytest.mark.root
def test_a_folder_of_another_user_is_refused_with_the_user_who_needs_it():
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    folder = Path(tempfile.mkdtemp(prefix="oneflower-test-"))
    folder.chmod(0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(StateError, match=r"Permission denied\. Let user 65534 write the folder"):
            CheckpointStore(folder / "c").open()
    finally:
        os.seteuid(0)
        folder.rmdir()


def test_a_path_through_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "c"):
        with pytest.raises(StateError, match="A part of the path is a file"):
            CheckpointStore(path).open()


def test_a_folder_removed_between_saves_is_created_again(root, make, same, caplog):
    with CheckpointStore(root) as store:
        store.save(make(1))
        shutil.rmtree(root)
        store.save(make(2))
        assert same(store.latest(), make(2))
    assert "created again" in caplog.text


@pytest.mark.parametrize(
    "name", ["checkpoint_history.jsonl", "checkpoint_round_2.npz", "checkpoint_round_2.json"]
)
def test_a_named_pipe_in_place_of_a_file_is_damage_and_does_not_block(tmp_path, make, name):
    with CheckpointStore(tmp_path) as store:
        for number in (1, 2):
            store.save(make(number))
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with CheckpointStore(tmp_path) as store:
        assert store.latest().round == (2 if "history" in name else 1)
        store.save(make(3))
        assert store.latest().round == 3
