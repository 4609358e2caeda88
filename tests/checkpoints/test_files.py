"""`OsFiles` calls the system as its interface says: fsync, rename, link, errors."""

import os
import stat

import pytest

from oneflower.checkpoints.files import OsFiles


@pytest.fixture
def synced(monkeypatch):
    """Record each fsync: of a folder or of the bytes of a file."""
    asked = []
    real = os.fsync

    def fsync(descriptor):
        mode = os.fstat(descriptor).st_mode
        asked.append("folder" if stat.S_ISDIR(mode) else "file")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return asked


def test_fsync_and_sync_folder_reach_the_system(tmp_path, synced):
    files = OsFiles()
    descriptor = files.create(tmp_path / "a")
    assert files.write(descriptor, memoryview(b"abc")) == 3
    files.fsync(descriptor)
    files.close(descriptor)
    files.sync_folder(tmp_path)
    assert synced == ["file", "folder"]
    assert (tmp_path / "a").read_bytes() == b"abc"


def test_create_truncates_a_leftover_file_and_rename_replaces(tmp_path):
    files = OsFiles()
    (tmp_path / "a").write_bytes(b"left")
    files.close(files.create(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == b""
    (tmp_path / "b").write_bytes(b"old")
    files.rename(tmp_path / "a", tmp_path / "b")
    assert files.names(tmp_path) == ["b"]


def test_links_are_made_once_and_read_back(tmp_path):
    files = OsFiles()
    files.symlink("target", tmp_path / "link")
    assert files.read_link(tmp_path / "link") == "target"
    with pytest.raises(FileExistsError):
        files.symlink("other", tmp_path / "link")
    files.unlink(tmp_path / "link")
    assert files.names(tmp_path) == []


def test_errors_are_the_systems_own(tmp_path):
    with pytest.raises(FileNotFoundError):
        OsFiles().open(tmp_path / "none")
    assert OsFiles().free_bytes(tmp_path) > 0
