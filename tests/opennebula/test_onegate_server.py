"""The OneGate of the tests loses, delays and refuses as the real one was seen to."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

SERVER = Path(__file__).with_name("onegate_server.py")
WAIT_S = 30


def call(address, method, path, body=None, *, vm=10, timeout=WAIT_S):
    """Return status and text; TimeoutError where the client gives up."""
    connection = http.client.HTTPConnection(*address, timeout=timeout)
    headers = {"X-ONEGATE-VMID": str(vm), "X-ONEGATE-TOKEN": f"token-{vm}", "Content-Type": "text/plain"}
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.fixture
def ask(onegate):
    return lambda *words, **options: call(onegate.server_address, *words, **options)


@pytest.fixture
def template(onegate):
    return onegate.state.vms[10]["template"]


def wait_for(condition):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def at_once(*calls):
    threads = [threading.Thread(target=each) for each in calls]
    for thread in threads:
        thread.start()
    return threads


def test_an_erase_loses_what_is_set_while_it_works(onegate, ask, template):
    ask("PUT", "/vm", "FL_ROUND=1\nFL_ERROR=x")
    onegate.state.faults.erase_gap_s = 1.0
    (erasing,) = at_once(lambda: ask("PUT", "/vm?type=2", "FL_ERROR"))
    time.sleep(0.3)
    assert ask("PUT", "/vm", "FL_ROUND=2") == (200, "")
    assert template["FL_ROUND"] == "2"
    erasing.join()
    assert template == {"FL_ROUND": "1"}


def test_an_erase_breaks_on_a_backslash_at_an_end(onegate, ask, template):
    ask("PUT", "/vm", "FL_END=a\\")
    ask("PUT", "/vm", "FL_A=1\nFL_B=2")
    assert ask("PUT", "/vm?type=2", "FL_A") == (500, "Internal server error")
    assert template["FL_A"] == "1"


def test_what_a_client_gave_up_on_is_applied_nevertheless(onegate, ask, template):
    onegate.state.faults.latency_s = 1.0
    with pytest.raises(TimeoutError):
        ask("PUT", "/vm", "FL_STATE=training", timeout=0.2)
    assert template == {}
    wait_for(lambda: template == {"FL_STATE": "training"})


def test_a_late_change_overtakes_a_newer_one(onegate, ask, template):
    onegate.state.faults.latency_s = 1.0
    with pytest.raises(TimeoutError):
        ask("PUT", "/vm", "FL_STATE=training", timeout=0.2)
    onegate.state.faults.latency_s = 0.0
    ask("PUT", "/vm", "FL_STATE=finished")
    assert template == {"FL_STATE": "finished"}
    wait_for(lambda: template == {"FL_STATE": "training"})


def test_oned_finishes_what_onegate_has_given_up(onegate, ask, template, monkeypatch):
    monkeypatch.setattr(sys.modules["onegate_server"], "WORKED_ON_S", 0.2)
    onegate.state.faults.latency_s = 1.0
    assert ask("PUT", "/vm", "FL_STATE=training") == (500, "Internal server error")
    assert template == {}
    wait_for(lambda: template == {"FL_STATE": "training"})


def test_a_oned_that_hangs_takes_up_what_was_asked(onegate, ask, template):
    """The client has gone, the token is checked, and the change made, once oned goes on: measured 7.4."""
    onegate.state.faults.outage = "oned-hangs"
    with pytest.raises(TimeoutError):
        ask("PUT", "/vm", "FL_STATE=training", timeout=0.2)
    onegate.state.faults.outage = ""
    wait_for(lambda: template == {"FL_STATE": "training"})


def test_a_oned_that_hangs_on_ends_in_401(onegate, ask, monkeypatch):
    monkeypatch.setattr(sys.modules["onegate_server"], "WORKED_ON_S", 0.2)
    onegate.state.faults.outage = "oned-hangs"
    assert ask("GET", "/vm") == (401, "Not authorized")


def test_an_answer_that_is_lost_is_500_and_the_change_is_made(onegate, ask, template):
    onegate.state.faults.outage = "oned-cuts"
    assert ask("PUT", "/vm", "FL_STATE=training") == (500, "Internal server error")
    assert template == {"FL_STATE": "training"}


def test_a_role_whose_vms_are_still_to_come_has_no_nodes(onegate, ask):
    onegate.state.roles = ("supernode", "other")
    roles = json.loads(ask("GET", "/service")[1])["SERVICE"]["roles"]
    assert [(role["name"], len(role["nodes"])) for role in roles] == [
        ("superlink", 1),
        ("supernode", 2),
        ("other", 0),
    ]


def test_few_are_worked_on_at_once(onegate, ask):
    """Those that wait are not lost, and hold up the next ones."""
    onegate.state.faults.workers, onegate.state.faults.latency_s = 1, 0.3
    began, ended = time.monotonic(), []
    threads = at_once(*[lambda: (ask("GET", "/vm"), ended.append(time.monotonic() - began))] * 3)
    for thread in threads:
        thread.join()
    assert max(ended) >= 0.9


@pytest.mark.parametrize(
    ("outage", "method", "path", "status"),
    [
        ("oned", "GET", "/vm", 401),
        ("oned", "PUT", "/vm", 401),
        ("oned-between", "GET", "/vm", 404),
        ("oned-between", "PUT", "/vm", 404),
        ("oneflow", "GET", "/service", 404),
        ("oneflow", "GET", "/vm", 200),
        ("status", "GET", "/vm", 503),
    ],
)
def test_an_outage_answers_as_a_wrong_token_or_a_strange_vm_would(onegate, ask, outage, method, path, status):
    onegate.state.faults.outage = outage
    assert ask(method, path, "FL_A=1" if method == "PUT" else None)[0] == status
    onegate.state.faults.outage = ""
    assert ask("GET", "/vm")[0] == 200
    assert onegate.state.vms[10]["template"] == {}


def test_a_vm_that_was_scaled_in_speaks_for_itself_alone(onegate, ask):
    state = onegate.state
    left = {vm_id: {key: vm[key] for key in ("role", "ip")} for vm_id, vm in state.vms.items() if vm_id != 11}
    state.take_over(left, {vm_id: f"token-{vm_id}" for vm_id in left})
    assert ask("GET", "/vm", vm=11)[0] == 200
    assert ask("GET", "/service", vm=11) == (400, "Service 1 does not contain VM 11.")
    nodes = [
        n["deploy_id"] for r in json.loads(ask("GET", "/service")[1])["SERVICE"]["roles"] for n in r["nodes"]
    ]
    assert nodes == [10, 12]


@pytest.fixture
def program(tmp_path):
    """Serve as hosts see it; `switch` writes its service file."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    file, dump = tmp_path / "service.json", tmp_path / "events.jsonl"

    def switch(**faults):
        vms = {"vms": {10: {"role": "superlink", "ip": "10.77.0.2"}}, "tokens": {10: "token-10"}}
        (tmp_path / "new").write_text(json.dumps({**vms, "faults": faults}))
        (tmp_path / "new").replace(file)

    switch()
    process = subprocess.Popen(
        [sys.executable, str(SERVER), address[0], str(address[1]), str(file), str(dump)]
    )
    yield address, switch, dump
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.wait()


def status_of(address):
    try:
        return call(address, "GET", "/vm")[0]
    except ConnectionError:
        return "refused"


def test_a_running_program_is_switched_by_its_file(program):
    address, switch, dump = program
    wait_for(lambda: status_of(address) == 200)
    assert call(address, "PUT", "/vm", "READY=YES") == (200, "")
    (event,) = map(json.loads, dump.read_text().splitlines())
    assert (event["vm"], event["template"], event["gate"]) == (10, {"READY": "YES"}, True)
    for faults, expected in (({"outage": "oned"}, 401), ({"outage": "refused"}, "refused"), ({}, 200)):
        switch(**faults)
        wait_for(lambda expected=expected: status_of(address) == expected)
    assert json.loads(call(address, "GET", "/vm")[1])["VM"]["USER_TEMPLATE"]["READY"] == "YES"
