"""What an attack on this part has found: each broke a machine, or let OneGate show what was not so."""

import json
import os
import threading
from contextlib import contextmanager

import httpx
import pytest

from oneflower.journal import reduce
from oneflower.journal.codec import line_of, record_of
from oneflower.opennebula.appliance import bootstrap as bootstrapping
from oneflower.opennebula.appliance import join as joining
from oneflower.opennebula.appliance.bootstrap import bootstrap
from oneflower.opennebula.appliance.configure import configure
from oneflower.opennebula.appliance.report import following, look
from oneflower.opennebula.appliance.shown import shown
from oneflower.opennebula.appliance.units import again_unit
from oneflower.opennebula.doctor.host import end_of
from oneflower.opennebula.doctor.masking import Masker
from oneflower.opennebula.onegate import OneGateError
from oneflower.opennebula.onegate.service import find_superlink
from oneflower.opennebula.roles import Machine

from ..making import entry, metrics

STARTED = entry("training_started", rounds=9)
COMPLETED = entry("round_completed", round=3, rounds=9, valid=2, metrics=metrics(train={"loss": 0.25}))
FAILED = entry("training_failed", reason="no quorum")
GAVE_UP = entry("training_gave_up", reason="10 losses in a row", restarts=10)


def values_after(*entries):
    return shown(reduce(entries))


def test_a_supervisor_that_has_given_up_is_a_training_that_failed():
    found = values_after(STARTED, COMPLETED, entry("run_lost"), GAVE_UP)
    assert (found["FL_STATE"], found["FL_ERROR"]) == ("failed", "10 losses in a row")
    assert values_after(entry("app_failed"), GAVE_UP)["FL_STATE"] == "failed"


@pytest.mark.parametrize("end", [FAILED, GAVE_UP])
def test_a_new_run_is_no_longer_the_failed_one(end):
    found = values_after(STARTED, end, entry("run_submitted", run=1))
    assert found["FL_STATE"] == "waiting"
    assert "FL_ERROR" not in found


def test_a_loss_is_of_the_round_that_is_reported():
    assert "FL_LOSS" not in values_after(STARTED, COMPLETED, STARTED)
    assert "FL_LOSS" not in values_after(STARTED, COMPLETED, entry("training_resumed", round=2))
    assert values_after(STARTED, COMPLETED, entry("training_resumed", round=3))["FL_LOSS"] == "0.25"


@pytest.mark.parametrize(
    "odd",
    [
        {"central_metrics": [1]},
        {"train_metrics": "x"},
        {"round": float("inf")},
        {"train_metrics": {"loss": 10**400}},
        {"time": None},
    ],
)
def test_no_line_ends_the_reading_of_the_journal(stage_of, layout, odd):
    layout.make(checkpoints=False)
    finished = line_of(entry("training_finished", round=9))
    row = json.dumps({**record_of(COMPLETED), **odd}).encode()
    layout.journal.write_bytes(row + b"\n" + finished)
    stop = threading.Event()
    with following(stage_of("superlink"), stop) as snapshot:
        stop.wait(0.5)
    assert snapshot()["FL_STATE"] == "finished"


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(bootstrapping, "HEALTH_TIMEOUT_S", 0.0)
    monkeypatch.setattr(joining, "PARTITION_TIMEOUT_S", 0.0)


@pytest.mark.usefixtures("quick")
def test_a_supernode_of_a_superlink_on_ipv6_becomes_ready(stage_of, onegate, layout):
    stage = stage_of("supernode", vm=12, FL_SUPERLINK_ADDRESS="[2001:db8::1]:9092", FL_TLS_ENABLED="NO")
    configure(stage)
    bootstrap(stage)
    shown = onegate.state.vms[12]["template"]
    assert shown["READY"] == "YES"
    assert "FL_ENDPOINT" not in shown
    assert '"--superlink" "[2001:db8::1]:9092"' in (layout.units / "flower-supernode.service").read_text()
    look(stage)


@pytest.mark.parametrize(
    "word", ["a[b", "10.0.0.2:9092 --x", "-x:1", "10.0.0.2:9092\nExecStart=/bin/x", "a", "é:1"]
)
def test_what_is_no_address_names_no_superlink(word):
    """Any VM of the service may write it: OneGate lets a VM change the others."""
    vm = {"ID": "10", "USER_TEMPLATE": {"FL_ENDPOINT": word}}
    role = {"name": "superlink", "nodes": [{"vm_info": {"VM": vm}}]}
    assert find_superlink({"roles": [role]}) is None
    vm["USER_TEMPLATE"]["FL_ENDPOINT"] = "super-link.example:9092"
    assert find_superlink({"roles": [role]}).address == "super-link.example:9092"


@pytest.mark.usefixtures("quick")
def test_a_part_is_asked_for_until_onegate_was_told(stage_of, onegate, client_of, monkeypatch):
    monkeypatch.setattr(joining, "PARTITION_TIMEOUT_S", 60.0)
    client_of(10).publish({"FL_ENDPOINT": "10.77.0.2:9092", "FL_PARTS": "11"})
    stage = stage_of("supernode", vm=12, FL_TLS_ENABLED="NO")
    publish, tries = stage.onegate.publish, []

    def lossy(*values, **options):
        tries.append(values)
        if len(tries) == 1:
            raise OneGateError("away", passing=True)
        publish(*values, **options)

    def sleep(seconds):
        if onegate.state.vms[12]["template"].get("FL_PART") == "none":
            client_of(10).publish({"FL_PARTS": "11:12"})

    monkeypatch.setattr(stage.onegate, "publish", lossy)
    assert joining.wait_for(stage, stage.settings(), sleep=sleep).assignment.started.index == 1
    assert len(tries) == 2


@pytest.mark.parametrize("answer", ["<html>maintenance", None])
def test_what_answers_in_place_of_onegate_may_pass(client_of, monkeypatch, answer):
    @contextmanager
    def stream(*words, **options):
        if answer is None:
            raise httpx.DecodingError("no gzip")
        yield httpx.Response(200, text=answer)

    client = client_of(12)
    monkeypatch.setattr(client._http, "stream", stream)
    with pytest.raises(OneGateError) as caught:
        client.service(patience_s=0.0)
    assert caught.value.passing


def test_what_will_not_pass_is_not_tried_again_for_ever():
    assert "RestartPreventExitStatus=2 5 6\n" in again_unit(Machine.SUPERLINK)


def test_the_end_of_a_log_is_that_of_a_file_alone(tmp_path):
    """The state folder is the containers' user's: a link there leads root to what that user may not read."""
    (tmp_path / "shadow").write_text("secret\n")
    (tmp_path / "journal.jsonl").symlink_to("shadow")
    assert end_of(tmp_path / "journal.jsonl", 100) == ""
    (tmp_path / "journal.jsonl").unlink()
    os.mkfifo(tmp_path / "journal.jsonl")
    assert end_of(tmp_path / "journal.jsonl", 100) == ""
    assert end_of(tmp_path, 100) == ""


def test_beginnings_of_keys_without_an_end_are_masked_in_time():
    """Half a megabyte of them took 13 seconds, and a unit's log is longer."""
    began = threading.Event()
    text = "-----BEGIN PRIVATE KEY-----" * 20000
    thread = threading.Thread(target=lambda: (Masker(frozenset())(text), began.set()), daemon=True)
    thread.start()
    assert began.wait(5)
