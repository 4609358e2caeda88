"""One `up` at a time in a state folder; an old one is set aside, never deleted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from oneflower.errors import ClusterError, StateError
from oneflower.local_cluster.folder import StateFolder, set_aside


@pytest.fixture
def folder(tmp_path):
    made = StateFolder(tmp_path / "state")
    made.make()
    return made


def test_a_new_folder_is_made_with_its_parents(tmp_path):
    folder = StateFolder(tmp_path / "a" / "b")
    folder.make()
    assert folder.logs.is_dir()
    assert not folder.is_used()


def test_the_write_test_leaves_no_file(folder):
    assert sorted(path.name for path in folder.root.iterdir()) == ["logs"]


def test_a_file_in_place_of_the_folder_is_reported(tmp_path):
    (tmp_path / "state").write_text("")
    with pytest.raises(StateError, match="--state"):
        StateFolder(tmp_path / "state").make()


def test_a_folder_below_a_file_is_reported(tmp_path):
    (tmp_path / "state").write_text("")
    with pytest.raises(StateError, match="a part of the path is a file"):
        StateFolder(tmp_path / "state" / "inner").make()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_reported(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StateError, match="no permission"):
        StateFolder(tmp_path / "state").make()


def test_a_file_system_without_regular_files_is_reported():
    with pytest.raises(StateError, match="/proc/oneflower"):
        StateFolder(Path("/proc/oneflower")).make()


def test_a_second_up_is_refused_with_the_pid_of_the_first(folder):
    script = (
        "import sys; from pathlib import Path; from oneflower.local_cluster.folder import StateFolder\n"
        "with StateFolder(Path(sys.argv[1])).lock():\n    print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ClusterError, match=f"pid {holder.pid}"), folder.lock():
            pass
        holder.kill()
    with folder.lock():
        pass


def test_an_error_inside_the_lock_is_not_reported_as_one_of_the_folder(folder):
    with pytest.raises(ConnectionRefusedError), folder.lock():
        raise ConnectionRefusedError


def test_an_old_folder_is_renamed_to_the_first_free_name(tmp_path):
    for number in range(3):
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "journal.jsonl").write_text(str(number))
        assert set_aside(tmp_path / "state") == tmp_path / f"state.{number + 1}"
    kept = [(tmp_path / f"state.{n}" / "journal.jsonl").read_text() for n in (1, 2, 3)]
    assert kept == ["0", "1", "2"]


def test_the_logs_of_the_previous_start_are_kept(folder):
    folder.log("superlink").write_text("first")
    folder.keep_old_logs()
    folder.log("superlink").write_text("second")
    assert (folder.logs / "superlink.log.1").read_text() == "first"
    folder.keep_old_logs()
    assert (folder.logs / "superlink.log.1").read_text() == "second"
