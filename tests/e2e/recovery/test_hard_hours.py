"""A supervised training beside another run, on a full disk, with a damaged database and stopped processes."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from scene import NODES

from oneflower.flower.control import ControlClient
from oneflower.flower.fab import build_fab
from oneflower.flower.guard import GUARDED
from oneflower.flower.programs import WARM_EXECUTOR, program_of
from oneflower.procfs import command_line
from oneflower.settings import run_config, submitted

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SUPERLINK, SUPERVISOR = "superlink", "supervisor"


def rounds(scene):
    return sorted(scene.history())


def submit(site):
    fab = build_fab(site.app)
    with ControlClient(site.control) as control:
        return control.submit(fab.content, submitted(run_config(site.settings), fab.own))


def test_a_second_run_of_the_same_app_is_refused_and_ends_nothing(scene, simulated):
    site = scene(NUM_ROUNDS="30")
    site.start()
    site.wait_for("round_completed", round=1)
    second = submit(site)
    refused = site.wait_for("training_failed", run=second)
    assert "is written by" in refused.reason
    assert refused.kind == "environment"
    assert site.finish().sha256 == simulated(NODES, NUM_ROUNDS="30")
    site.wait_for("supervisor_state", state="finished")
    assert len(site.events("run_submitted")) == 1
    assert not site.events("run_lost", "training_gave_up")
    owners = {entry.process for entry in site.entries("round_completed")}
    assert len(owners) == 1


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder):
    ballast = folder / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    except OSError:
        return ballast


def test_a_checkpoint_disk_that_is_full_when_the_serverapp_dies_is_waited_for(scene, small_disk, simulated):
    site = scene(NUM_ROUNDS="6", values=20_000)
    site.checkpoints = small_disk / "checkpoints"
    site.start()
    site.wait_for("checkpoint_saved", round=2)
    ballast = fill(small_disk)
    site.kill(program="serverapp")
    site.wait_for("training_failed", kind="environment")
    assert "No space left" in site.wait_for("run_lost", after=1).reason
    ballast.unlink()
    finish = site.finish()
    site.wait_for("supervisor_state", state="finished")
    assert rounds(site) == list(range(1, 7))
    assert not site.events("training_gave_up")
    assert finish.sha256 == simulated(NODES, values=20_000, NUM_ROUNDS="6")


def test_a_spoiled_database_is_set_aside_and_the_training_goes_on(scene, simulated):
    site = scene(NUM_ROUNDS="6")
    site.start()
    site.wait_for("round_completed", round=2)
    site.hold_down(SUPERLINK)
    database = site.state / "superlink" / "state.db"
    with database.open("r+b") as file:
        file.write(bytes(4096))
    for name in ("state.db-wal", "state.db-shm"):
        (database.parent / name).unlink(missing_ok=True)
    site.start(SUPERLINK)
    assert site.finish().sha256 == simulated(NODES, NUM_ROUNDS="6")
    assert (database.parent / "state.db.damaged.1").is_file()
    assert "is not a readable database" in site.log(SUPERLINK)


def test_a_stopped_executor_does_not_hold_up_a_lost_run(scene, simulated):
    site = scene(NUM_ROUNDS="5")
    site.start()
    site.wait_for("round_completed", round=2)
    (executor,) = site.running(SUPERLINK, program="superexec")
    os.kill(executor.pid, signal.SIGSTOP)
    site.kill(program="serverapp")
    assert site.finish().sha256 == simulated(NODES, NUM_ROUNDS="5")
    assert site.events("process_stalled")[0].role == "superexec"


def test_a_supernode_without_a_supervisor_has_a_guard_of_its_own(scene, simulated, monkeypatch):
    """As on an appliance, where the SuperNode has a machine to itself; its guard may be killed, too."""
    site = scene(NUM_ROUNDS="9")
    environment = site._environment

    def unguarded(role):
        return {name: value for name, value in environment(role).items() if name != GUARDED}

    monkeypatch.setattr(site, "_environment", unguarded)
    site.start()
    for victim in ("supernode", "warm", "supernode and guard"):
        site.wait_for("round_completed", after=len(site.events("round_completed")))
        found = site.running("supernode-1")
        warm = [each for each in found if program_of(command_line(each.pid)) == WARM_EXECUTOR]
        leader = [each for each in found if each.pid == site.kept["supernode-1"].process.pid]
        stalls = count_stalls(site)
        os.kill((warm if victim == "warm" else leader)[0].pid, signal.SIGSTOP)
        if victim == "supernode and guard":
            (guard,) = [each for each in found if "oneflower.flower.guard" in command_line(each.pid)]
            os.kill(guard.pid, signal.SIGKILL)
        site.wait_until(lambda seen=stalls: count_stalls(site) > seen, f"{victim} stays stopped")
    assert site.finish().sha256 == simulated(NODES, NUM_ROUNDS="9")


def count_stalls(site):
    return site.log("supernode-1").count("was stopped by a signal")


@pytest.fixture
def set_clock(tmp_path, monkeypatch):
    """Return a function that sets the wall clock of all processes started since, in seconds from now."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for the clock")
    library, offset = tmp_path / "set_clock.so", tmp_path / "offset"
    source = Path(__file__).parent / "set_clock.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, source], check=True)
    offset.write_text("0")
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("SET_CLOCK", str(offset))
    return lambda seconds: offset.write_text(str(seconds))


def test_a_wall_clock_that_is_set_back_by_a_day_holds_up_no_round(scene, set_clock, simulated):
    """A node that dies then is waited for until its lease of a minute ends, not for a day."""
    site = scene(ROUND_TIMEOUT="900")
    site.start()
    site.wait_for("round_started", round=3)
    set_clock(-86400)
    site.hold_down("supernode-2")
    site.wait_for("round_failed", round=3)
    site.start("supernode-2")
    assert site.finish().sha256 == simulated(NODES, NUM_ROUNDS="6")
    assert not site.events("run_lost")
