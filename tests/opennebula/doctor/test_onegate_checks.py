"""OneGate's answers are told apart, and a probe leaves nothing behind."""

import socket
import sys
import threading
from contextlib import contextmanager

import pytest

from oneflower.opennebula.doctor import asking, checks_onegate, checks_service
from oneflower.opennebula.doctor.checks_onegate import PROBE
from oneflower.opennebula.onegate.access import TokenRecord

Refusal = sys.modules["onegate_server"].Refusal


def refusing(status):
    def refuse(vm_id, text):
        raise Refusal(status, "no")

    return refuse


ANSWERS = ("onegate", "onegate-publish", "service")


@pytest.fixture
def ask(host_of, outcome):
    """Ask OneGate as doctor does, with what the first check learns for the next."""

    def run(check, **options):
        host = host_of(**{"vm": 10, **options})
        first = outcome(checks_onegate.answers(host))
        if check == "onegate":
            return first
        look = {"onegate-publish": checks_onegate.round_trip, "service": checks_service.service}[check]
        return outcome(look(host))

    return run


def test_a_token_that_is_taken_is_ok(ask):
    state, found, _ = ask("onegate")
    assert (state, "accepted the token of VM 10" in found) == ("ok", True)


def test_without_a_token_nothing_is_asked(ask):
    assert [ask(check, vm=None)[0] for check in ANSWERS] == ["skipped"] * 3


def test_a_wrong_token_names_both_reasons(ask, onegate, client_of):
    state, found, fix = ask("onegate", onegate=client_of(10, token="bogus"))
    assert (state, "never accepted" in found) == ("problem", True)
    assert "opennebula-gate" in fix
    assert "bogus" not in found + fix
    assert ask("service", onegate=client_of(10, token="bogus"))[0] == "skipped"


def test_a_token_that_was_good_points_to_oned(ask, onegate, layout, client_of):
    """OneGate answers 401 or 404 while oned is away."""
    layout.config.mkdir(parents=True)
    TokenRecord(layout.token_record, client_of(10).access).accepted()
    onegate.state.faults.outage = "oned"
    state, found, fix = ask("onegate")
    assert (state, "this token was accepted at" in found, "opennebula-gate" in fix) == (
        "problem",
        True,
        True,
    )
    onegate.state.faults.outage = "oned-between"
    assert "oned does not respond" in ask("onegate")[1]


def test_doctor_remembers_nothing_of_onegate(ask, layout):
    assert ask("onegate-publish")[0] == "ok"
    assert not layout.token_record.exists()


def test_an_absent_oneflow_is_reported(ask, onegate):
    onegate.state.faults.outage = "oneflow"
    state, _, fix = ask("service")
    assert (state, "opennebula-flow" in fix) == ("problem", True)


def test_doctor_takes_turns_with_the_report(ask, layout, monkeypatch):
    """At most one call of a VM is in flight."""
    held = []
    real = asking.exclusive_call
    monkeypatch.setattr(asking, "exclusive_call", lambda path, *rest: held.append(path) or real(path, *rest))
    ask("service")
    assert held == [layout.onegate_lock, layout.onegate_lock]


@pytest.mark.parametrize(("status", "expected"), [(403, ":permissions:"), (500, "onegate.log")])
def test_other_refusals_have_their_remedy(ask, onegate, status, expected):
    onegate.state.failures = [status]
    state, found, fix = ask("onegate")
    assert (state, str(status) in found, expected in fix) == ("problem", True, True)


@contextmanager
def server(answer):
    """Accept one connection after another on 127.0.0.1, and answer each."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def serve():
            listener.settimeout(0.1)
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    answer(connection, stop)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        stop.set()
        thread.join()


def test_nobody_there_is_refused(ask, client_of):
    with socket.create_server(("127.0.0.1", 0)) as free:
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    state, found, fix = ask("onegate", onegate=client_of(10, endpoint=endpoint))
    assert (state, "refuses connections" in found, "opennebula-gate" in fix) == ("problem", True, True)


def test_no_answer_is_told_apart_from_no_connection(ask, client_of, monkeypatch):
    monkeypatch.setattr(asking, "ANSWER_S", 0.2)
    monkeypatch.setattr(asking, "CONNECT_S", 0.2)
    with server(lambda connection, stop: stop.wait(5)) as endpoint:
        assert (
            "accepted the request but did not respond"
            in ask("onegate", onegate=client_of(10, endpoint=endpoint))[1]
        )
    with full() as endpoint:
        state, found, fix = ask("onegate", onegate=client_of(10, endpoint=endpoint))
    assert (state, "no connection to" in found, "ip route" in fix) == ("problem", True, True)


@contextmanager
def full():
    """A port that takes no connection any more: packets to it are dropped, as a firewall does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(3):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for each in waiting:
            each.close()


def test_something_else_than_onegate_is_reported(ask, client_of):
    def answer(connection, stop):
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")

    with server(answer) as endpoint:
        state, found, _ = ask("onegate", onegate=client_of(10, endpoint=endpoint))
    assert (state, "this is not OneGate" in found) == ("problem", True)


@pytest.mark.parametrize("endpoint", ["http://no-such-host.invalid:5030", "10.0.0.1:5030", "http://[::1"])
def test_an_endpoint_that_is_wrong_is_reported(ask, endpoint):
    from oneflower.opennebula.onegate import Access

    class Client:
        access = Access(endpoint=endpoint, vm_id="10", token="token-10")

    assert ask("onegate", onegate=Client())[0] == "problem"


def test_a_probe_is_published_read_erased_and_gone(ask, onegate):
    before = dict(onegate.state.vms[10]["template"])
    assert ask("onegate-publish")[0] == "ok"
    assert onegate.state.vms[10]["template"] == before
    writes = [path for method, path in onegate.state.calls if method != "GET"]
    assert writes == ["/vm", "/vm?type=2"]


def test_a_probe_that_is_not_shown_is_told_and_not_erased(ask, onegate, monkeypatch):
    """An erase of what is not there is answered with 500."""
    monkeypatch.setattr(onegate.state, "update", lambda vm_id, text: None)
    state, found, _ = ask("onegate-publish")
    assert (state, "showed no value" in found) == ("problem", True)
    assert ("PUT", "/vm?type=2") not in onegate.state.calls


def test_a_probe_that_stays_is_reported(ask, onegate, monkeypatch):
    monkeypatch.setattr(onegate.state, "erase", lambda vm_id, text: None)
    state, found, _ = ask("onegate-publish")
    assert (state, "still exists" in found) == ("problem", True)


def test_a_refused_update_names_the_permission(ask, onegate, monkeypatch):
    monkeypatch.setattr(onegate.state, "update", refusing(403))
    state, _, fix = ask("onegate-publish")
    assert (state, ":vm: :update:" in fix) == ("problem", True)


def test_a_failing_erase_says_how_to_remove_the_probe(ask, onegate, monkeypatch):
    monkeypatch.setattr(onegate.state, "erase", refusing(500))
    state, _, fix = ask("onegate-publish")
    assert (state, f"--erase {PROBE}" in fix) == ("problem", True)


def test_no_probe_while_a_stage_is_at_work(ask, onegate, stage_ended):
    """An erase writes everything back, and could undo READY=YES."""
    stage_ended("bootstrap_started")
    assert ask("onegate-publish")[0] == "skipped"
    assert all(method == "GET" for method, _ in onegate.state.calls)


def test_the_service_is_seen_with_what_the_superlink_has_published(ask, client_of):
    client_of(10).publish({"FL_ENDPOINT": "10.77.0.2:9092"})
    state, found, fix = ask("service", vm=11, machine="supernode")
    assert (state, "without a CA" in found, "FL_TLS_ENABLED" in fix) == ("problem", True, True)


def test_a_superlink_that_has_published_nothing_is_told_to_both(ask, client_of):
    client_of(10).publish({"FL_STATE": "configuring"})
    state, found, fix = ask("service", vm=11, machine="supernode")
    assert (state, "VM 10 has FL_STATE configuring" in found) == ("problem", True)
    assert "doctor` on the SuperLink" in fix
    assert ask("service")[0] == "problem"


def test_a_ca_that_does_not_decode_is_reported(host_of, onegate):
    onegate.state.vms[10]["template"].update({"FL_ENDPOINT": "10.77.0.2:9092", "FL_CA_CERT": "%%%"})
    host = host_of("supernode", vm=11)
    list(checks_onegate.answers(host))
    findings = [each.found for each in checks_service.service(host) if each.outcome == "problem"]
    assert any("is not base64" in text for text in findings)


def test_a_ca_that_is_no_certificate_is_reported(host_of, client_of):
    client_of(10).publish({"FL_ENDPOINT": "10.77.0.2:9092", "FL_CA_CERT": "hello"})
    host = host_of("supernode", vm=11)
    list(checks_onegate.answers(host))
    (bad, _) = checks_service.service(host)
    assert (bad.outcome.value, "FL_CA_CERT of VM 10" in bad.found) == ("problem", True)


def test_a_vm_of_no_service_is_reported(ask, onegate):
    onegate.state.in_service = False
    assert ask("service")[0] == "warning"
    assert ask("service", vm=11, machine="supernode")[0] == "problem"


def test_roles_of_other_names_are_reported(host_of, onegate):
    for vm in onegate.state.vms.values():
        vm["role"] = f"my_{vm['role']}"
    host = host_of(vm=10)
    list(checks_onegate.answers(host))
    first, *_ = checks_service.service(host)
    assert "my_superlink, my_supernode" in first.found


def test_an_image_of_the_other_role_is_reported(host_of, client_of):
    host = host_of("superlink", vm=11)
    list(checks_onegate.answers(host))
    assert any("has the role supernode" in each.found for each in checks_service.service(host))
