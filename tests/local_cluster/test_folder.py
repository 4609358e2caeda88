"""One `up` at a time in a state folder; an old one is set aside, never deleted."""

import os
import sqlite3
import stat
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


# --- who may read it --------------------------------------------------------------------------------


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_new_folder_is_for_its_user_alone(folder):
    assert mode(folder.root) == mode(folder.logs) == 0o700


def test_what_an_earlier_release_left_open_is_closed_at_the_start(folder):
    """A training has its models, its settings and its logs there."""
    for name in ("checkpoints", "superlink", "tls"):
        (folder.root / name).mkdir()
    files = [folder.journal, folder.training, folder.report, folder.root / "journal.jsonl.1"]
    for path in files:
        path.write_text("{}\n")
        path.chmod(0o644)
    for path in (folder.root, *folder.root.iterdir()):
        path.chmod(mode(path) | 0o055)
    folder.make()
    assert {mode(path) for path in files} == {0o600}
    assert {mode(path) for path in folder.root.rglob("*") if path.is_dir()} == {0o700}
    assert mode(folder.root) == 0o700


def test_a_folder_that_holds_other_things_keeps_its_mode_and_theirs(tmp_path):
    """`--state .` in a project must not close the project."""
    root = tmp_path / "project"
    root.mkdir(mode=0o755)
    (root / "README.md").write_text("mine")
    (root / "README.md").chmod(0o644)
    StateFolder(root).make()
    assert mode(root) == 0o755
    assert mode(root / "README.md") == 0o644
    assert mode(root / "logs") == 0o700


def test_a_link_in_the_folder_changes_nothing_elsewhere(folder, tmp_path):
    other = tmp_path / "other"
    other.write_text("")
    other.chmod(0o644)
    folder.journal.symlink_to(other)
    folder.make()
    assert mode(other) == 0o644


def test_decoded_data_are_deleted_and_nothing_beside_them(folder, tmp_path):
    """`--fresh` sets a state aside, where nobody would look for a copy of the data."""
    folder.delete_decoded_data()
    folder.decoded_data.mkdir()
    (folder.decoded_data / "x.arrays").write_text("rows")
    folder.delete_decoded_data()
    assert not folder.decoded_data.exists()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "rows.csv").write_text("1")
    folder.decoded_data.symlink_to(tmp_path / "own")
    folder.delete_decoded_data()
    assert not folder.decoded_data.is_symlink()
    assert (tmp_path / "own" / "rows.csv").is_file()


@pytest.mark.parametrize("length", [504, 505])
def test_a_path_that_is_too_long_for_sqlite_is_reported_before_anything_is_made(tmp_path, length):
    """A SuperLink that cannot open its database is started again for 80 s, and says nothing of its path."""
    rest = length - len(str(tmp_path)) - len("//superlink/superlink.db")
    root = tmp_path.joinpath("x" * (rest // 3), "x" * (rest // 3), "x" * (rest - 2 * (rest // 3) - 2))
    database = root / "superlink" / "superlink.db"
    assert len(str(database)) == length
    root.parent.mkdir(parents=True)
    (root / "superlink").mkdir(parents=True)
    try:
        with sqlite3.connect(database) as connection:
            connection.execute("create table a (b)")
    except sqlite3.OperationalError:
        with pytest.raises(StateError, match=r"shorter by 1 bytes"):
            StateFolder(root).require_database("superlink.db")
    else:
        StateFolder(root).require_database("superlink.db")
    assert (length > 504) == (not database.exists())


def test_a_lock_file_that_is_a_link_is_refused_and_its_target_kept(folder, tmp_path):
    """Whoever can write the folder would have any file of the user emptied."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (folder.root / "lock").symlink_to(victim)
    with pytest.raises(StateError, match="lock"), folder.lock():
        pass
    assert victim.read_text() == "precious"


def test_a_lock_file_that_is_a_named_pipe_is_refused_at_once(folder):
    os.mkfifo(folder.root / "lock")
    with pytest.raises(StateError, match="named pipe"), folder.lock():
        pass


def test_files_of_an_earlier_release_are_closed_to_others(folder, tmp_path):
    """They were written for everybody to read, and a folder that is shared keeps its mode."""
    names = [
        "checkpoints/checkpoint_round_2.npz",
        "checkpoints/checkpoint_round_2.state.npz",
        "checkpoints/checkpoint_round_2.json",
        "checkpoints/checkpoint_round_1.npz.damaged-1",
        "checkpoints/checkpoint_history.jsonl",
        "checkpoints/checkpoint_metadata.json",
        "checkpoints/.checkpoint.lock",
        "logs/superlink.log",
        "logs/superlink.log.1",
        "journal.jsonl",
        "journal.jsonl.2",
        ".journal.jsonl.7.alive",
        "training.json",
        "lock",
    ]
    (folder.checkpoints).mkdir()
    for name in names:
        (folder.root / name).write_text("x")
        (folder.root / name).chmod(0o644)
    others = tmp_path / "others"
    others.write_text("x")
    others.chmod(0o644)
    (folder.logs / "link.log").symlink_to(others)
    (folder.checkpoints / "checkpoint_round_3.npz").symlink_to(others)
    os.mkfifo(folder.logs / "pipe.log", 0o644)
    folder.make()
    assert {name: oct(stat.S_IMODE((folder.root / name).stat().st_mode)) for name in names} == dict.fromkeys(
        names, "0o600"
    )
    assert stat.S_IMODE(others.stat().st_mode) == 0o644
