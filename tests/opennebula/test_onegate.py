"""What is published arrives whole, refusals are named without the token, and the service is read right."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.opennebula.onegate import OneGateError, Part, access_from, client, find_superlink, own_part
from oneflower.opennebula.onegate.encoding import BASE64_KEYS, body, decode, encode

PEM = '-----BEGIN CERTIFICATE-----\nMIIB,"[]\\=\n-----END CERTIFICATE-----\n'


def test_values_arrive_whole(onegate, client_of):
    client_of(10).publish(
        {"FL_STATE": "training", "FL_ERROR": 'a, [b] "c" = \\d\n{"e": 1}', "FL_CA_CERT": PEM}
    )
    template = onegate.state.vms[10]["template"]
    assert template["FL_STATE"] == "training"
    assert decode("FL_ERROR", template["FL_ERROR"]).rstrip("\n") == 'a, [b] "c" = \\d\n{"e": 1}'
    assert base64.b64decode(template["FL_CA_CERT"]).decode().startswith(PEM)


@given(st.text(max_size=300), st.sampled_from(sorted(BASE64_KEYS)))
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


def test_a_failure_that_passes_is_tried_again(onegate, client_of):
    onegate.state.failures = [500, 503]
    client_of(10).publish({"FL_STATE": "waiting"})
    assert len(onegate.state.calls) == 3


def test_a_refusal_is_not_repeated_and_hides_the_token(onegate, client_of):
    client = client_of(10, token="secret-token")
    with pytest.raises(OneGateError, match="401") as caught:
        client.publish({"FL_STATE": "waiting"})
    assert len(onegate.state.calls) == 1
    assert "secret-token" not in str(caught.value) + repr(client.access)


def test_a_server_that_stays_broken_ends_in_an_error(onegate, client_of):
    onegate.state.failures = [500] * 3
    with pytest.raises(OneGateError, match="status 500"):
        client_of(10).vm()


def test_no_answer_ends_in_an_error(client_of):
    with pytest.raises(OneGateError, match="no answer"):
        client_of(10, endpoint="http://127.0.0.1:1").vm()


def test_a_vm_outside_of_a_service_is_told(onegate, client_of):
    onegate.state.in_service = False
    with pytest.raises(OneGateError, match="part of a OneFlow service"):
        client_of(11).service()


def test_the_superlink_is_found_once_it_has_published(client_of):
    assert find_superlink(client_of(11).service()) is None
    client_of(10).publish({"FL_ENDPOINT": "10.77.0.2:9092", "FL_CA_CERT": PEM})
    found = find_superlink(client_of(11).service())
    assert found.address == "10.77.0.2:9092"
    assert found.ca.startswith(PEM)


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
    access = access_from(context)
    assert (access.endpoint, access.vm_id, access.token) == ("http://169.254.16.9:5030", "7", "abc")
    (tmp_path / "token.txt").write_text("def\n")
    assert (
        access_from({**context, "TOKENTXT": "", "ONEGATE_TOKEN": str(tmp_path / "token.txt")}).token == "def"
    )


@pytest.mark.parametrize("line", ['export TOKENTXT="abc+/="', "TOKENTXT=abc+/=", "export TOKENTXT='abc+/='"])
def test_a_token_that_is_not_exported_is_found_and_nothing_is_run(tmp_path, monkeypatch, line):
    """The file holds other values unescaped: sourcing it would run them."""
    kept = tmp_path / "one_env"
    kept.write_text(f'export FL_NODE_CONFIG="$(touch {tmp_path}/pwned)"\n{line}\nexport VMID="7"\n')
    monkeypatch.setattr(client, "ENVIRONMENT_FILE", kept)
    assert access_from({"ONEGATE_ENDPOINT": "http://x", "VMID": "7"}).token == "abc+/="
    assert list(tmp_path.iterdir()) == [kept]


@pytest.mark.parametrize("missing", ["ONEGATE_ENDPOINT", "VMID", "TOKENTXT"])
def test_without_a_token_there_is_no_onegate(missing):
    context = {"ONEGATE_ENDPOINT": "http://x", "VMID": "7", "TOKENTXT": "abc", missing: ""}
    assert access_from(context) is None
