"""Disks, folders, Docker, units, stages, clock and training: good, and in each bad state."""

import json
import os
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from oneflower.errors import ClusterError
from oneflower.journal import Entry
from oneflower.journal.codec import line_of
from oneflower.opennebula.doctor import (
    checks_clock,
    checks_context,
    checks_disk,
    checks_docker,
    checks_training,
    checks_units,
    one_apps,
)
from oneflower.opennebula.onegate.encoding import encode
from oneflower.tls import make_authority, make_server_certificate

from ...making import event

NOW = datetime.now(UTC)
as_root = pytest.mark.skipif(os.getuid() != 0, reason="files are tried as another user")


def ready(host):
    list(checks_context.settings(host))
    return host


# --- disks and folders ---


@pytest.fixture
def folders(layout):
    layout.make(checkpoints=True)
    return layout


@pytest.fixture
def look(host_of, outcome):
    def at(name, *, writable=False, **context):
        host = ready(host_of(FL_CHECKPOINT_ENABLED="YES", **context))
        return outcome(checks_disk.folder_check(name, writable=writable)(host))

    return at


def test_folders_of_configure_are_ok(look, folders):
    names = {"state": True, "certs": False, "data": False, "models": False, "checkpoints": True}
    assert {look(name, writable=writable)[0] for name, writable in names.items()} == {"ok"}


@as_root
@pytest.mark.parametrize("name", ["state", "checkpoints"])
def test_a_folder_that_cannot_be_written_is_reported(look, folders, name):
    folder = getattr(folders, name)
    os.chown(folder, 0, 0)
    folder.chmod(0o755)
    state, found, fix = look(name, writable=True)
    assert (state, "cannot write" in found, f"chown 49999:49999 {folder}" in fix) == ("problem", True, True)
    assert list(folder.iterdir()) == []


@as_root
def test_a_file_that_cannot_be_read_is_named(look, folders):
    (folders.data / "site").mkdir()
    (folders.data / "site/secret.csv").touch(mode=0o600)
    state, found, fix = look("data")
    assert (state, "site/secret.csv is not readable" in found, "a+rX" in fix) == ("problem", True, True)
    (folders.certs / "ca.pem").touch(mode=0o600)
    assert "chown -R 49999:49999" in look("certs")[2]


def test_a_folder_that_is_missing_or_a_file_is_reported(look, folders):
    folders.data.rmdir()
    assert "does not exist" in look("data")[1]
    folders.data.touch()
    assert "is not a folder" in look("data")[1]


def test_before_configure_nothing_is_missing(host_of, outcome):
    host = host_of(kept=False)
    assert outcome(checks_disk.folder_check("state", writable=True)(host))[0] == "skipped"
    assert outcome(checks_clock.certificates(host))[0] == "skipped"


def test_checkpoints_that_are_off_are_not_looked_at(look, host_of, outcome):
    assert look("checkpoints", writable=True, machine="supernode")[0] == "skipped"
    host = ready(host_of(FL_CHECKPOINT_ENABLED="NO"))
    assert outcome(checks_disk.folder_check("checkpoints", writable=True)(host))[0] == "skipped"


@pytest.fixture
def statvfs(monkeypatch):
    """Say how full the file systems are."""

    def set_to(**given):
        full = {"f_flag": 0, "f_bavail": 10**7, "f_frsize": 4096, "f_favail": 10**6, "f_files": 10**7} | given
        monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(**full))

    return set_to


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "ok"),
        ({"f_bavail": 10_000}, "problem"),
        ({"f_bavail": 400_000}, "warning"),
        ({"f_favail": 5}, "problem"),
        ({"f_favail": 5000}, "warning"),
        ({"f_favail": 0, "f_files": 0}, "ok"),
    ],
)
def test_room_and_inodes_are_looked_at(host_of, statvfs, outcome, given, expected):
    statvfs(**given)
    assert outcome(checks_disk.root_disk(host_of()))[0] == expected


def test_a_disk_that_became_read_only_is_reported(look, folders, statvfs):
    statvfs(f_flag=os.ST_RDONLY)
    state, found, fix = look("checkpoints", writable=True)
    assert (state, "read-only" in found, "dmesg" in fix) == ("problem", True, True)


def test_a_share_that_is_gone_is_reported(look, folders, monkeypatch):
    def stale(_):
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(os, "statvfs", stale)
    state, found, fix = look("checkpoints", writable=True)
    assert (state, "Stale" in found, "mount it again" in fix) == ("problem", True, True)


# --- Docker ---


def test_docker_and_its_image_are_ok(host_of, outcome):
    host = host_of()
    assert [outcome(check(host))[0] for check in (checks_docker.engine, checks_docker.image)] == ["ok", "ok"]


def test_a_docker_that_does_not_answer_is_told_once(host_of, programs, outcome):
    programs.docker = ClusterError("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.")
    host = host_of()
    state, found, fix = outcome(checks_docker.engine(host))
    assert (state, "Cannot connect" in found, "systemctl restart docker" in fix) == ("problem", True, True)
    assert outcome(checks_docker.image(host))[0] == "skipped"


def test_mapped_users_are_reported(host_of, programs, outcome):
    programs.docker = json.dumps({"version": "27", "options": ["name=userns"]})
    state, found, fix = outcome(checks_docker.engine(host_of()))
    assert (state, "maps users" in found, "userns-remap" in fix) == ("problem", True, True)


def test_an_answer_of_something_else_is_reported(host_of, programs, outcome):
    programs.docker = "hello"
    assert outcome(checks_docker.engine(host_of()))[0] == "problem"


def test_a_missing_image_is_reported(host_of, programs, outcome):
    programs.image = ClusterError("Error: No such image: oneflower-superlink:0.1.0")
    host = host_of()
    list(checks_docker.engine(host))
    state, _, fix = outcome(checks_docker.image(host))
    assert (state, "install.sh superlink" in fix) == ("problem", True)


# --- units ---


def units(host):
    return {finding.check: finding for finding in checks_units.units(ready(host))}


def test_units_that_run_are_ok(host_of):
    assert {each.outcome.value for each in units(host_of(vm=10)).values()} == {"ok"}


def test_only_units_that_the_settings_call_for_are_expected(host_of):
    host = ready(host_of(FL_USE_CASE="image-classification", FL_ISOLATION="process"))
    names = [unit.name for unit in checks_units.expected_units(host)]
    assert names == [
        f"flower-{name}.service" for name in ("superlink", "superexec", "supervisor", "dashboard")
    ]
    node = ready(host_of("supernode", vm=11))
    assert [unit.name for unit in checks_units.expected_units(node)] == [
        "flower-supernode.service",
        "flower-report.service",
    ]


@pytest.mark.parametrize(
    ("state", "expected", "said", "fix"),
    [
        ({"active": "inactive", "sub": "dead"}, "problem", "stopped or never started", "systemctl start"),
        (
            {"active": "failed", "sub": "failed", "Result": "exit-code"},
            "problem",
            "exit-code; its log: ERROR no",
            "restart",
        ),
        (
            {"active": "activating", "sub": "auto-restart", "Result": "signal"},
            "problem",
            "its log: ERROR no",
            "restart",
        ),
        ({"NRestarts": "9"}, "warning", "restarted 9 times", "journalctl"),
        ({"LoadState": "not-found"}, "problem", "does not exist", "stages"),
    ],
)
def test_a_unit_that_does_not_run_is_told_with_its_log(host_of, programs, state, expected, said, fix):
    programs.unit("flower-superlink.service", **state)
    programs.logs["flower-superlink.service"] = "INFO starting\nERROR no port\nINFO bye\n"
    found = units(host_of())["flower-superlink.service"]
    assert (found.outcome.value, said in found.found, fix in found.fix) == (expected, True, True)


def test_a_page_that_does_not_run_is_a_warning(host_of, programs):
    programs.unit("flower-dashboard.service", active="failed", sub="failed")
    assert units(host_of())["flower-dashboard.service"].outcome.value == "warning"


def test_a_contextualization_that_is_off_is_reported(host_of, programs):
    programs.unit("one-context.service", UnitFileState="disabled")
    assert units(host_of())["one-context.service"].fix == "systemctl enable one-context.service"


def test_a_systemd_that_does_not_answer_is_reported(host_of, programs):
    programs.units = ClusterError("Failed to connect to bus")
    assert units(host_of())["units"].outcome.value == "problem"


def test_a_supernode_must_have_been_taken(host_of, programs, outcome):
    host = host_of("supernode")
    assert outcome(checks_units.registered(host))[0] == "problem"
    programs.logs["_SYSTEMD_INVOCATION_ID=id"] = "INFO :      SuperNode ID: 42"
    assert outcome(checks_units.registered(host))[0] == "ok"
    assert outcome(checks_units.registered(host_of()))[0] == "skipped"


# --- one-apps ---


@pytest.mark.parametrize(
    ("status", "expected", "said"),
    [
        ("bootstrap_success", "ok", "have succeeded"),
        ("configure_success", "problem", "bootstrap did not run"),
        ("install_success", "problem", "configure did not run"),
        ("configure_failure", "problem", "configure has failed: 2 problems: ERROR FL_X"),
        ("bootstrap_started", "warning", "is running"),
    ],
)
def test_how_far_the_stages_came_is_reported(host_of, layout, stage_ended, outcome, status, expected, said):
    stage_ended(status)
    log = layout.root / "var/log/one-appliance/configure.log"
    log.parent.mkdir(parents=True)
    log.write_text("INFO x\n2 problems: ERROR FL_X\n")
    state, found, _ = outcome(one_apps.stages(host_of()))
    assert (state, said in found) == (expected, True)


def test_stages_that_are_run_again_are_reported(host_of, layout, programs, stage_ended, outcome):
    stage_ended("bootstrap_failure")
    layout.units.mkdir(parents=True)
    (layout.units / "flower-again.service").touch()
    assert "repeats both stages" in outcome(one_apps.stages(host_of()))[1]
    assert not one_apps.is_running(host_of())
    programs.true["is-active"] = ["flower-again.service"]
    assert one_apps.is_running(host_of())
    programs.true.clear()
    programs.true["is-failed"] = ["flower-again.service"]
    assert "then reboot" in outcome(one_apps.stages(host_of()))[2]


def test_no_stage_is_reported(host_of, outcome):
    assert outcome(one_apps.stages(host_of()))[0] == "problem"


def test_a_stage_whose_process_is_gone_was_interrupted(host_of, layout, stage_ended, outcome):
    stage_ended("bootstrap_started")
    (layout.root / "run").mkdir()
    (layout.root / "run/one-appliance-service.pid").write_text("123\n")
    assert "interrupted" in outcome(one_apps.stages(host_of()))[1]
    (layout.root / "proc/123").mkdir(parents=True)
    assert outcome(one_apps.stages(host_of()))[0] == "warning"


def test_a_pipe_that_was_left_is_reported(host_of, layout, stage_ended):
    """The next boot would fail with `mknod: File exists`."""
    stage_ended("bootstrap_success")
    pipe = layout.root / "var/log/one-appliance/one_service_log.pipe"
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    _, left = one_apps.stages(host_of())
    assert (left.outcome.value, left.fix) == ("problem", f"rm {pipe}")
    stage_ended("bootstrap_started")
    (working,) = one_apps.stages(host_of())
    assert working.outcome.value == "warning"
    stage_ended("bootstrap_success")
    (layout.root / "opt/oneflower").mkdir(parents=True)
    (layout.root / "opt/oneflower/after-power-cut").touch()  # it removes the pipe at the next boot
    (well,) = one_apps.stages(host_of())
    assert well.outcome.value == "ok"


# --- clock and certificates ---


@pytest.mark.parametrize(
    ("lead_s", "expected"),
    [(0.4, "ok"), (-3, "ok"), (20, "warning"), (-20, "warning"), (7200, "problem"), (-7200, "problem")],
)
def test_the_clock_is_compared_with_onegate(host_of, outcome, lead_s, expected):
    host = host_of()
    host.facts.clock_lead_s = lead_s
    assert outcome(checks_clock.clock(host))[0] == expected


def test_a_onegate_without_a_date_leaves_the_time_server(host_of, programs, outcome):
    """OneGate on Puma sends no Date."""
    assert outcome(checks_clock.clock(host_of()))[0] == "ok"
    programs.synchronized = "no\n"
    assert outcome(checks_clock.clock(host_of()))[0] == "warning"
    programs.synchronized = ClusterError("Failed to connect to bus")
    assert outcome(checks_clock.clock(host_of()))[0] == "skipped"


@pytest.fixture
def certified(layout):
    layout.certs.mkdir(parents=True)
    files, authority = layout.certificates, make_authority(NOW)
    files.ca.write_bytes(authority.certificate_pem())
    files.certificate.write_bytes(make_server_certificate(authority, ("127.0.0.1",), NOW)[0])
    return files


@pytest.mark.parametrize(
    ("days", "expected"), [(0, "ok"), (-2, "problem"), (810, "warning"), (900, "problem")]
)
def test_certificates_must_be_valid_by_this_clock(host_of, certified, days, expected):
    findings = list(checks_clock.certificates(host_of(now=NOW + timedelta(days=days))))
    assert findings[-1].outcome.value == expected


def test_certificates_that_are_missing_or_damaged_are_reported(host_of, certified, outcome):
    certified.certificate.write_text("nothing")
    assert "not a readable certificate" in outcome(checks_clock.certificates(host_of()))[1]
    certified.certificate.unlink()
    assert "does not exist" in outcome(checks_clock.certificates(host_of()))[1]
    assert outcome(checks_clock.certificates(ready(host_of(FL_TLS_ENABLED="NO"))))[0] == "skipped"


# --- the training, and what OneGate shows of it ---


@pytest.fixture
def journal(layout):
    layout.state.mkdir(parents=True)

    def write(*events, seconds_ago=600):
        moment = datetime.now(UTC) - timedelta(seconds=seconds_ago)
        layout.journal.write_bytes(b"".join(line_of(Entry(moment, each)) for each in events))

    return write


STARTED = event("training_started", rounds=5)
FAILED = event("training_failed", reason="no quorum")
LOST = event("run_lost", reason="the SuperLink has ended")
DONE = event("round_completed", round=1, rounds=5, valid=2)


@pytest.mark.parametrize(
    ("events", "expected", "said"),
    [
        ([STARTED, DONE], "ok", "training, 1 of 5 rounds"),
        ([STARTED, FAILED], "problem", "no quorum"),
        ([STARTED, LOST], "warning", "the SuperLink has ended"),
        ([STARTED, LOST, DONE], "ok", "1 of 5"),
        ([STARTED, event("training_gave_up", reason="10 restarts")], "problem", "10 restarts"),
    ],
)
def test_the_last_error_of_the_journal_is_reported(host_of, journal, outcome, events, expected, said):
    journal(*events)
    state, found, _ = outcome(checks_training.training(host_of()))
    assert (state, said in found) == (expected, True)


def test_a_machine_without_a_journal_is_well(host_of, outcome):
    assert outcome(checks_training.training(host_of()))[0] == "ok"
    assert outcome(checks_training.training(host_of("supernode")))[0] == "skipped"


@pytest.fixture
def shown(host_of):
    def look(**template):
        host = host_of()
        host.facts.vm = {"USER_TEMPLATE": template}
        return list(checks_training.shown(host))

    return look


def test_onegate_shows_what_the_journal_says(shown, journal):
    journal(STARTED, DONE)
    (found,) = shown(READY="YES", FL_STATE="training", FL_ROUND="1")
    assert found.outcome.value == "ok"
    (found,) = shown(READY="YES", FL_STATE="waiting", FL_ROUND="0")
    assert (found.outcome.value, "FL_STATE=training, FL_ROUND=1" in found.found) == ("warning", True)
    assert "restart flower-report" in found.fix
    journal(STARTED, DONE, seconds_ago=5)  # the report may not have told it yet
    assert shown(READY="YES", FL_STATE="waiting")[0].outcome.value == "ok"


def test_an_error_that_onegate_shows_is_reported(shown):
    (found,) = shown(READY="NO", FL_STATE="failed", FL_ERROR=encode("FL_ERROR", "FL_X is 'y'\nfix it"))
    assert (found.outcome.value, "FL_X is 'y' / fix it" in found.found) == ("problem", True)


def test_a_ready_that_was_lost_is_reported(shown, stage_ended):
    stage_ended("bootstrap_success")
    (found,) = shown(READY="NO", FL_STATE="waiting")
    assert (found.outcome.value, "restart flower-report" in found.fix) == ("problem", True)


def test_a_onegate_that_did_not_answer_shows_nothing(host_of, outcome):
    assert outcome(checks_training.shown(host_of()))[0] == "skipped"
