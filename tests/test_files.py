"""Files of the state folder are written atomically, and errors say how to fix the cause."""

import errno
import os
import resource
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from oneflower.errors import StateError
from oneflower.files import (
    allow_open_files,
    most_open_files,
    open_to_read,
    probe,
    read_json,
    state_errors,
    write_atomically,
    write_json,
)


@pytest.fixture
def full_disk(tmp_path):
    """A real file system of 64 kB without free space."""
    place = tmp_path / "full"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs root to mount a small file system")
    try:
        (place / "kept.json").write_text('{"round": 1}')
        with (place / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(bytes(4096))
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_what_is_written_is_read(tmp_path):
    write_json(tmp_path / "a.json", {"round": 3})
    assert read_json(tmp_path / "a.json") == {"round": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_failure_keeps_the_old_file_and_leaves_no_partial_file(tmp_path, monkeypatch):
    write_atomically(tmp_path / "a", "old")

    def no_space(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StateError, match="the disk is full"):
        write_atomically(tmp_path / "a", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_full_disk_is_found_and_nothing_is_lost(full_disk):
    with pytest.raises(StateError, match=r"the disk is full.*--state"):
        probe(full_disk)
    with pytest.raises(StateError, match="the disk is full"):
        write_json(full_disk / "kept.json", {"round": 2, "filler": "x" * 5000})
    assert read_json(full_disk / "kept.json") == {"round": 1}
    assert sorted(path.name for path in full_disk.iterdir()) == ["filler", "kept.json"]


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EACCES, "permission denied"),
        (errno.EROFS, "read-only"),
        (errno.EDQUOT, "quota"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_an_error_names_the_path_and_how_to_fix_it(number, hint):
    with pytest.raises(StateError) as caught, state_errors(Path("/some/where")):
        raise OSError(number, os.strerror(number))
    assert "/some/where" in str(caught.value)
    assert hint in str(caught.value)
    assert "--state" in str(caught.value)


def test_a_damaged_or_missing_file_reads_as_empty(tmp_path):
    assert read_json(tmp_path / "none.json") == {}
    for text in ("", "{", "[1]", "\udcff"):
        (tmp_path / "bad.json").write_bytes(text.encode(errors="surrogateescape"))
        assert read_json(tmp_path / "bad.json") == {}


def test_a_named_pipe_is_refused_without_blocking(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="named pipe"):
        open_to_read(pipe)
    assert read_json(pipe) == {}
    with pytest.raises(IsADirectoryError):
        open_to_read(tmp_path)


def test_a_link_that_another_user_has_put_there_is_not_written_through(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / f".probe.{os.getpid()}").symlink_to(victim)
    probe(folder)
    assert victim.read_text() == "mine"


def test_more_files_may_be_open_as_far_as_the_system_allows(monkeypatch):
    limits = {"now": (1024, 4096)}
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _, given: limits.update(now=given))
    allow_open_files(2000)
    assert (most_open_files(), limits["now"]) == (2000, (2000, 4096))
    allow_open_files(10_000)
    assert limits["now"] == (4096, 4096)
    allow_open_files(100)
    assert most_open_files() == 4096
