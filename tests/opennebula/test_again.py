"""A stage that fails for a reason that passes is run again by a unit, until it succeeds, without a human."""

import json
import os

import pytest

from oneflower.errors import AppError, ClusterError, SettingsError, StateError
from oneflower.kinds import may_pass
from oneflower.opennebula.appliance import bootstrap as bootstrapping
from oneflower.opennebula.appliance import join as joining
from oneflower.opennebula.appliance.again import (
    AGAIN,
    again,
    call_off,
    keep_environment,
    kept_environment,
    schedule,
)
from oneflower.opennebula.appliance.bootstrap import bootstrap
from oneflower.opennebula.appliance.configure import configure
from oneflower.opennebula.appliance.stage import UnreportedFailureError
from oneflower.opennebula.appliance.systemd import UnitEndedError
from oneflower.opennebula.onegate import OneGateError
from oneflower.opennebula.onegate.encoding import decode
from oneflower.parts import Part
from oneflower.tls import make_authority

IMAGES = {"FL_USE_CASE": "image-classification", "ETH0_IP": "10.77.0.2"}


@pytest.fixture(autouse=True)
def healthy(monkeypatch):
    monkeypatch.setattr(bootstrapping, "superlink_answers", lambda settings, ca, sockets: True)
    monkeypatch.setattr(bootstrapping, "HEALTH_TIMEOUT_S", 0.0)
    monkeypatch.setattr(joining, "PARTITION_TIMEOUT_S", 0.0)  # no SuperLink runs that would hand out parts


def outage_until(onegate, hours, second, kind="oned"):
    """OneGate is away from now on, until so many seconds were slept."""
    onegate.state.faults.outage = kind

    def refresh():
        if hours.now >= second:
            onegate.state.faults.outage = ""

    onegate.state.refresh = refresh


@pytest.mark.parametrize("kind", ["oned", "oned-between", "status"])
def test_a_bootstrap_waits_five_minutes_for_onegate(stage_of, onegate, hours, kind):
    stage = stage_of("superlink", vm=10, **IMAGES)
    configure(stage)
    outage_until(onegate, hours, 300, kind)
    bootstrap(stage)
    assert onegate.state.gate_is_open(10)
    assert onegate.state.vms[10]["template"]["FL_ENDPOINT"] == "10.77.0.2:9092"


def test_a_configure_is_not_held_up_by_an_outage(stage_of, onegate, hours):
    onegate.state.faults.outage = "oned"
    configure(stage_of("superlink", vm=10, **IMAGES))
    assert hours.now == 0.0


def test_a_supernode_waits_for_onegate_and_for_its_part(stage_of, onegate, hours, client_of, monkeypatch):
    """Even one that was told its SuperLink: without its part it would train on everything."""
    client_of(10).publish({"FL_ENDPOINT": "10.77.0.2:9092"})
    stage = stage_of("supernode", vm=12, FL_SUPERLINK_ADDRESS="10.77.0.2:9092", FL_TLS_ENABLED="NO")
    outage_until(onegate, hours, 300)
    found = joining.wait_for(stage, stage.settings(), sleep=hours.sleep)
    assert found.assignment.started == Part(index=1, count=2)


def test_a_ca_that_an_erase_hides_for_a_moment_is_waited_for(stage_of, onegate, hours, client_of):
    client_of(10).publish({"FL_ENDPOINT": "10.77.0.2:9092"})
    stage = stage_of("supernode", vm=12)
    ca = make_authority(stage.now()).certificate_pem().decode()

    def sleep(seconds):
        client_of(10).publish({"FL_CA_CERT": ca})

    assert joining.wait_for(stage, stage.settings(), sleep=sleep).ca.startswith(ca)


def test_an_outage_longer_than_the_wait_is_told_and_may_pass(stage_of, onegate, hours, monkeypatch):
    monkeypatch.setattr(joining, "DISCOVERY_TIMEOUT_S", 0.0)
    onegate.state.faults.outage = "oned"
    stage = stage_of("supernode", vm=12)
    with pytest.raises(OneGateError, match="no SuperLink was found") as caught:
        joining.wait_for(stage, stage.settings(), sleep=hours.sleep)
    assert may_pass(caught.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OneGateError("away", passing=True), True),
        (OneGateError("refused"), False),
        (ClusterError("does not answer"), True),
        (UnitEndedError("it has ended"), False),
        (StateError("read-only"), True),
        (SettingsError("FL_NUM_ROUNDS"), False),
        (AppError("does not fit"), False),
    ],
)
def test_what_may_pass(error, expected):
    assert may_pass(error) is expected


def test_what_may_pass_is_scheduled_and_what_may_not_is_not(stage_of, layout, commands):
    stage = stage_of("supernode")
    schedule(stage, SettingsError("FL_NUM_ROUNDS"))
    assert not (layout.units / AGAIN).exists()
    schedule(stage, OneGateError("away", passing=True))
    assert "appliance again --role supernode" in (layout.units / AGAIN).read_text()
    assert commands.calls[-1][1:] == ("start", "--no-block", AGAIN)


def test_a_machine_without_systemd_still_reports_the_first_failure(stage_of, commands):
    def refuse(*command):
        raise ClusterError("no systemctl")

    commands.run = refuse
    schedule(stage_of("supernode"), ClusterError("away"))


def test_one_apps_own_run_ends_the_tries(stage_of, layout, commands):
    """The operator may have changed the context; the old one must not win."""
    stage = stage_of("supernode")
    schedule(stage, ClusterError("away"))
    commands.active.add(AGAIN)
    call_off(stage)
    assert AGAIN not in commands.active
    assert not (layout.units / AGAIN).exists()


def test_success_corrects_what_one_apps_says(stage_of, layout):
    layout.status.parent.mkdir(parents=True)
    layout.status.write_text("bootstrap_failure\n")
    motd = layout.root / "etc/motd"
    motd.write_text(" 3/3 Bootstrap step failed.\n")
    runs = []
    again(stage_of("superlink"), (lambda _: runs.append("configure"), lambda _: runs.append("bootstrap")))
    assert runs == ["configure", "bootstrap"]
    assert layout.status.read_text() == "bootstrap_success\n"
    assert "failed" not in motd.read_text()


def test_a_failure_corrects_nothing(stage_of, layout):
    layout.status.parent.mkdir(parents=True)
    layout.status.write_text("bootstrap_failure\n")

    def fail(_):
        raise ClusterError("still away")

    with pytest.raises(ClusterError):
        again(stage_of("superlink"), (fail,))
    assert layout.status.read_text() == "bootstrap_failure\n"


def test_the_environment_is_kept_as_it_was_and_for_root_alone(layout):
    environ = {"FL_NODE_CONFIG": 'note="$(reboot)"\n', "FL_X": "bytes \udcff", "TOKENTXT": "t"}
    keep_environment(layout, environ)
    assert kept_environment(layout) == environ
    assert layout.environ.stat().st_mode & 0o777 == 0o600
    assert layout.environ.stat().st_uid == os.getuid()
    assert json.loads(layout.environ.read_text())["TOKENTXT"] == "t"


def test_no_stage_since_the_boot_is_reported(layout):
    with pytest.raises(SettingsError, match="no stage has run"):
        kept_environment(layout)


def test_a_final_failure_that_could_not_be_told_is_tried_until_it_is(stage_of, onegate, hours):
    """OneGate may still show READY=YES of the boot before."""
    stage = stage_of("superlink", vm=10, **IMAGES)
    configure(stage)
    bootstrap(stage)
    onegate.state.faults.outage = "oned"
    wrong = stage_of("superlink", vm=10, FL_NUM_ROUNDS="0")
    with pytest.raises(UnreportedFailureError, match="FL_NUM_ROUNDS") as caught:
        configure(wrong)
    assert may_pass(caught.value)
    onegate.state.faults.outage = ""
    assert onegate.state.gate_is_open(10)
    with pytest.raises(SettingsError):
        configure(wrong)
    assert not onegate.state.gate_is_open(10)


def test_what_cannot_be_erased_does_not_keep_a_machine_from_ready(stage_of, onegate, hours):
    """OneGate 7.4 refuses every erase while any value of the VM ends in a backslash."""
    onegate.state.vms[10]["template"] |= {"NOTE": "C:\\dir\\", "FL_ERROR": "b2xk"}
    stage = stage_of("superlink", vm=10, **IMAGES)
    configure(stage)
    bootstrap(stage)
    assert onegate.state.gate_is_open(10)
    assert stage.published()["READY"] == "YES"


def test_a_defect_is_told_too(stage_of, onegate, monkeypatch):
    def broken(_):
        raise ZeroDivisionError("division by zero")

    stage = stage_of("superlink", vm=10, **IMAGES)
    with pytest.raises(ZeroDivisionError), stage.reporting_failure():
        broken(stage)
    told = decode("FL_ERROR", onegate.state.vms[10]["template"]["FL_ERROR"])
    assert "unexpected ZeroDivisionError" in told


def test_the_report_is_silent_from_a_configure_to_the_end_of_its_bootstrap(stage_of):
    stage = stage_of("superlink", vm=10, **IMAGES)
    configure(stage)
    bootstrap(stage)
    assert stage.published()["READY"] == "YES"
    configure(stage)
    assert stage.published() == {}
