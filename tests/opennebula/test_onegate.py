"""What is published arrives whole, refusals are named without the token, and the service is read right."""

import base64
import fcntl
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.bounded_json import Bounds
from oneflower.opennebula.onegate import (
    Access,
    OneGate,
    OneGateError,
    RetryPolicy,
    access,
    access_from,
    find_superlink,
    own_part,
)
from oneflower.opennebula.onegate.encoding import BASE64_KEYS, body, decode, encode
from oneflower.parts import Part

PEM = '-----BEGIN CERTIFICATE-----\nMIIB,"[]\\=\n-----END CERTIFICATE-----\n'


def test_values_arrive_whole(onegate, client_of):
    client_of(10).publish(
        {"FL_STATE": "training", "FL_ERROR": 'a, [b] "c" = \\d\n{"e": 1}', "FL_CA_CERT": PEM}
    )
    template = onegate.state.vms[10]["template"]
    assert template["FL_STATE"] == "training"
    assert decode("FL_ERROR", template["FL_ERROR"]).rstrip("\n") == 'a, [b] "c" = \\d\n{"e": 1}'
    assert base64.b64decode(template["FL_CA_CERT"]).decode().startswith(PEM)


@given(st.text(min_size=1, max_size=300), st.sampled_from(sorted(BASE64_KEYS)))
def test_any_text_survives_a_base64_key(text, key):
    """Surrogates stand for bytes that are no text: they are replaced, never an error."""
    sent = encode(key, text)
    expected = text.encode("utf-8", errors="replace").decode()
    assert "=" not in sent
    assert decode(key, sent).rstrip("\n") == expected.rstrip("\n")


@pytest.mark.parametrize("value", ["a,b", "[a]", 'a"b', "a b", "a\nb", "a=b", "a\\b", "ä", "$(reboot)"])
def test_a_value_that_the_parser_might_break_is_not_sent_plain(value):
    with pytest.raises(ValueError, match="BASE64_KEYS"):
        body({"FL_STATE": value})


@pytest.mark.parametrize("key", ["FL_STATE", "FL_ERROR"])
def test_an_empty_value_is_never_sent(key):
    """OneGate stores a quote for it."""
    with pytest.raises(ValueError, match="empty"):
        body({key: ""})


@pytest.mark.parametrize("key", ["FL_READY", "NOT_READY", "fl_state", "A=B", ""])
def test_a_key_that_could_open_the_gate_is_refused(key):
    with pytest.raises(ValueError, match="the key"):
        body({key: "YES"})


def test_the_gate_is_opened_by_ready_alone(onegate, client_of):
    client_of(10).publish({"FL_STATE": "waiting", "READY": "NO"})
    assert not onegate.state.gate_is_open(10)
    client_of(10).publish({"READY": "YES"})
    assert onegate.state.gate_is_open(10)


def test_keys_can_be_erased(onegate, client_of):
    client_of(10).publish({"FL_ERROR": "x", "FL_STATE": "failed"})
    client_of(10).erase(["FL_ERROR"])
    assert set(onegate.state.vms[10]["template"]) == {"FL_STATE"}


def test_only_keys_that_are_there_are_erased(onegate, client_of):
    """The real server answers 500 for a key that is absent: no VM would ever become READY."""
    client_of(10).publish({"FL_STATE": "waiting"})
    client_of(10).erase(["FL_ERROR", "FL_CA_CERT"])
    assert onegate.state.calls == [("PUT", "/vm"), ("GET", "/vm")]
    assert onegate.state.vms[10]["template"] == {"FL_STATE": "waiting"}


def test_a_key_that_vanishes_while_it_is_erased_is_no_failure(onegate, client_of):
    client_of(10).publish({"FL_STATE": "waiting", "FL_ERROR": "x"})
    erase = onegate.state.erase

    def another_was_faster(vm_id, body):
        erase(vm_id, body)
        return erase(vm_id, body)

    onegate.state.erase = another_was_faster
    client_of(10).erase(["FL_ERROR"])
    assert onegate.state.vms[10]["template"] == {"FL_STATE": "waiting"}


def test_a_failure_that_passes_is_tried_again(onegate, client_of):
    onegate.state.failures = [500, 503]
    client_of(10).publish({"FL_STATE": "waiting"})
    assert len(onegate.state.calls) == 3


@pytest.mark.parametrize("outage", ["oned", "oned-between", "oneflow", "status"])
def test_an_outage_is_waited_out(onegate, client_of, hours, outage):
    """While oned or OneFlow is away OneGate answers 401, 404 or 5xx: none of them is final."""
    client = client_of(11)
    onegate.state.faults.outage = outage
    away_until = 500.0

    def refresh():
        if hours.now > away_until:
            onegate.state.faults.outage = ""

    onegate.state.refresh = refresh
    assert client.service(patience_s=600.0)["name"] == "oneflower"
    assert away_until < hours.now < 600.0
    assert len(onegate.state.calls) < 40


def test_the_patience_is_bounded(onegate, client_of, hours):
    onegate.state.faults.outage = "oned"
    with pytest.raises(OneGateError, match="attempts in") as caught:
        client_of(10).vm(patience_s=600.0)
    assert caught.value.passing
    assert 500.0 < hours.now <= 600.0


def test_without_patience_there_is_one_try(onegate, client_of):
    onegate.state.failures = [500]
    with pytest.raises(OneGateError, match="status 500"):
        client_of(10).publish({"FL_STATE": "waiting"}, patience_s=0.0)
    assert len(onegate.state.calls) == 1


def test_waits_grow_and_differ_between_machines():
    delays = [[RetryPolicy().delay(attempt) for attempt in range(9)] for _ in range(20)]
    assert all(each[0] < 2.0 and 20.0 < each[-1] < 40.0 for each in delays)
    assert len({each[-1] for each in delays}) > 10


def test_a_token_that_never_worked_is_told_from_an_outage(onegate, client_of):
    client = client_of(10, token="secret-token")
    with pytest.raises(OneGateError, match=r"401.*never accepted") as caught:
        client.publish({"FL_STATE": "waiting"})
    assert "secret-token" not in str(caught.value) + repr(client.access)
    good = client_of(10)
    good.publish({"FL_STATE": "waiting"})
    onegate.state.faults.outage = "oned"
    with pytest.raises(OneGateError, match="401, although this token was accepted"):
        good.vm()


def test_an_accepted_token_is_remembered_by_the_next_process(onegate, hours, tmp_path):
    def client(token):
        access = Access(endpoint=onegate.endpoint, vm_id="10", token=token)
        retries = RetryPolicy(patience_s=0.0, clock=hours.clock, sleep=hours.sleep)
        return OneGate(access, retries=retries, token_record=tmp_path / "proof.json")

    with client("token-10") as first:
        first.vm()
    assert "token-10" not in (tmp_path / "proof.json").read_text()
    assert (tmp_path / "proof.json").stat().st_mode & 0o777 == 0o600
    onegate.state.faults.outage = "oned"
    with client("token-10") as second, pytest.raises(OneGateError, match="although this token"):
        second.vm()
    with client("another") as third, pytest.raises(OneGateError, match="never accepted"):
        third.vm()


def test_an_answer_without_end_is_not_read_to_its_end(client_of, monkeypatch):
    """Whatever stands in the place of OneGate, and whatever VMs write into their templates."""
    monkeypatch.setattr("oneflower.opennebula.onegate.client.LARGEST_ANSWER", Bounds(most_bytes=20))
    with pytest.raises(OneGateError, match="contains no VM"):
        client_of(10).vm()
    monkeypatch.setattr("oneflower.opennebula.onegate.client.LARGEST_ANSWER", Bounds(most_values=2))
    with pytest.raises(OneGateError, match="contains no VM"):
        client_of(10).vm()


def test_a_refusal_is_not_repeated(onegate, client_of):
    onegate.state.failures = [403]
    with pytest.raises(OneGateError, match="403") as caught:
        client_of(10).publish({"FL_STATE": "waiting"})
    assert not caught.value.passing
    assert len(onegate.state.calls) == 1


def test_a_vm_speaks_to_onegate_once_at_a_time(onegate, tmp_path):
    """Stages, report and doctor are processes of their own; each opens the lock for itself."""
    onegate.state.faults.latency_s = 0.05
    at_work, most = [0], [0]
    waits = onegate.state.takes

    def takes():
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        time.sleep(waits())
        at_work[0] -= 1
        return 0.0

    onegate.state.takes = takes

    def call(turn):
        access = Access(endpoint=onegate.endpoint, vm_id="10", token="token-10")
        with OneGate(access, lock=turn) as client:
            client.vm()

    def together(turn):
        most[0] = 0
        threads = [threading.Thread(target=call, args=(turn,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return most[0]

    assert together(tmp_path / "run/lock") == 1
    assert together(None) > 1


def test_a_lock_that_is_held_too_long_is_an_error_that_passes(onegate, hours, tmp_path):
    access = Access(endpoint=onegate.endpoint, vm_id="10", token="token-10")
    retries = RetryPolicy(patience_s=0.0, clock=hours.clock, sleep=hours.sleep)
    with (
        (tmp_path / "lock").open("w") as holder,
        OneGate(access, retries=retries, lock=tmp_path / "lock") as client,
    ):
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(OneGateError, match="another process") as caught:
            client.vm()
    assert caught.value.passing


def test_no_answer_ends_in_an_error(client_of):
    with pytest.raises(OneGateError, match="no response"):
        client_of(10, endpoint="http://127.0.0.1:1").vm()


def test_a_vm_outside_of_a_service_is_reported(onegate, client_of):
    onegate.state.in_service = False
    with pytest.raises(OneGateError, match="does not belong to a OneFlow service"):
        client_of(11).service()


def test_the_superlink_is_found_once_it_has_published(client_of):
    assert find_superlink(client_of(11).service()) is None
    pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    client_of(10).publish({"FL_ENDPOINT": "10.77.0.2:9092", "FL_CA_CERT": pem})
    found = find_superlink(client_of(11).service())
    assert found.address == "10.77.0.2:9092"
    assert found.ca == pem


def test_a_superlink_without_tls_has_no_ca(client_of):
    client_of(10).publish({"FL_ENDPOINT": "10.77.0.2:9092"})
    assert find_superlink(client_of(11).service()).ca is None


def test_a_damaged_ca_is_no_superlink(onegate, client_of):
    onegate.state.vms[10]["template"] = {"FL_ENDPOINT": "10.77.0.2:9092", "FL_CA_CERT": "!!"}
    assert find_superlink(client_of(11).service()) is None


def test_only_the_superlink_role_is_believed(client_of):
    client_of(12).publish({"FL_ENDPOINT": "10.77.0.4:9092"})
    assert find_superlink(client_of(11).service()) is None


def test_each_supernode_has_its_own_part(client_of):
    service = client_of(11).service()
    assert own_part(service, "11") == Part(index=0, count=2)
    assert own_part(service, "12") == Part(index=1, count=2)
    assert own_part(service, "10") is None
    assert own_part({}, "11") is None
    assert own_part(service, "x") is None


def test_parts_count_vms_that_are_still_to_come(client_of):
    service = client_of(11).service()
    role = next(role for role in service["roles"] if role["name"] == "supernode")
    role["cardinality"], role["nodes"] = "5", role["nodes"][:1]
    assert own_part(service, "11") == Part(index=0, count=5)


def test_access_comes_from_the_context(tmp_path):
    context = {"ONEGATE_ENDPOINT": "http://169.254.16.9:5030/", "VMID": "7", "TOKENTXT": "abc\n"}
    found = access_from(context)
    assert (found.endpoint, found.vm_id, found.token) == ("http://169.254.16.9:5030", "7", "abc")
    (tmp_path / "token.txt").write_text("def\n")
    assert (
        access_from({**context, "TOKENTXT": "", "ONEGATE_TOKEN": str(tmp_path / "token.txt")}).token == "def"
    )


@pytest.mark.parametrize("line", ['export TOKENTXT="abc+/="', "TOKENTXT=abc+/=", "export TOKENTXT='abc+/='"])
def test_a_token_that_is_not_exported_is_found_and_nothing_is_run(tmp_path, monkeypatch, line):
    """The file holds other values unescaped: sourcing it would run them."""
    kept = tmp_path / "one_env"
    kept.write_text(f'export FL_NODE_CONFIG="$(touch {tmp_path}/pwned)"\n{line}\nexport VMID="7"\n')
    monkeypatch.setattr(access, "ENVIRONMENT_FILE", kept)
    assert access_from({"ONEGATE_ENDPOINT": "http://x", "VMID": "7"}).token == "abc+/="
    assert list(tmp_path.iterdir()) == [kept]


@pytest.mark.parametrize("missing", ["ONEGATE_ENDPOINT", "VMID", "TOKENTXT"])
def test_without_a_token_there_is_no_onegate(missing):
    context = {"ONEGATE_ENDPOINT": "http://x", "VMID": "7", "TOKENTXT": "abc", missing: ""}
    assert access_from(context) is None
