"""Doctor names the key of each machine, and says how to mend one that is not what it was."""

from datetime import UTC, datetime

import pytest

from oneflower.node_keys import Pins
from oneflower.opennebula.doctor import checks_context, checks_identity, checks_onegate, checks_service
from oneflower.tls import ensure_node_key, make_authority, make_node_key

MACHINES = {"superlink": 10, "supernode": 12}


@pytest.fixture
def check(host_of, outcome):
    """Run a check of this machine after those whose results it uses."""

    def run(machine, look, **context):
        host = host_of(machine, vm=MACHINES[machine], **context)
        for before in (checks_context.settings, checks_onegate.answers, checks_service.service):
            list(before(host))
        return outcome(look(host))

    return run


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("off", ["FL_NODE_AUTH", "FL_TLS_ENABLED"])
def test_an_open_door_is_a_warning(check, machine, off):
    state, found, fix = check(machine, checks_identity.keys, **{off: "NO"})
    assert (state, off in found, f"{off}=YES" in fix) == ("warning", True, True)


class TestSuperNode:
    def test_a_key_that_onegate_shows_is_ok(self, check, layout, client_of):
        layout.certs.mkdir(parents=True)
        key, _ = ensure_node_key(layout.node_key)
        client_of(12).publish({"FL_NODE_KEY": key.word})
        assert check("supernode", checks_identity.keys) == (
            "ok",
            f"this SuperNode has the key {key.fingerprint}",
            "",
        )
        client_of(12).publish({"FL_NODE_KEY": make_node_key()[1].word})
        state, found, _ = check("supernode", checks_identity.keys)
        assert (state, "OneGate shows another one" in found) == ("problem", True)

    def test_no_key_a_damaged_and_an_open_one_are_told_apart(self, check, layout):
        layout.certs.mkdir(parents=True)
        assert "does not exist" in check("supernode", checks_identity.keys)[1]
        ensure_node_key(layout.node_key)
        layout.node_key.chmod(0o644)
        assert "chmod 600" in check("supernode", checks_identity.keys)[2]
        layout.node_key.write_text("rubbish")
        assert "is not a private key" in check("supernode", checks_identity.keys)[1]

    def test_another_ca_than_the_first_is_a_problem_with_the_file_to_remove(self, check, layout, client_of):
        first, other = (make_authority(datetime.now(UTC)).certificate_pem().decode() for _ in range(2))
        client_of(10).publish({"FL_ENDPOINT": "10.77.0.2:9092", "FL_CA_CERT": first})
        assert check("supernode", checks_identity.trust)[0] == "skipped"
        layout.write(layout.trusted_ca, first)
        assert check("supernode", checks_identity.trust)[0] == "ok"
        client_of(10).publish({"FL_CA_CERT": other})
        state, _, fix = check("supernode", checks_identity.trust)
        assert state == "problem"
        assert f"remove {layout.trusted_ca}: the new CA is trusted within a minute" in fix


class TestSuperLink:
    def test_the_known_keys_are_listed(self, check, layout, client_of):
        layout.service.mkdir(parents=True)
        assert check("superlink", checks_identity.keys)[0] == "skipped"
        key = make_node_key()[1]
        layout.node_keys.write_text(Pins(keys={12: key}).text())
        assert f"VM 12 {key.fingerprint}" in check("superlink", checks_identity.keys)[1]

    def test_a_changed_key_is_a_problem_with_the_line_to_remove(self, check, layout, client_of):
        layout.service.mkdir(parents=True)
        layout.node_keys.write_text(Pins(keys={12: make_node_key()[1]}).text())
        other = make_node_key()[1]
        client_of(12).publish({"FL_NODE_KEY": other.word})
        state, found, fix = check("superlink", checks_identity.keys)
        assert (state, other.fingerprint in found) == ("problem", True)
        assert "remove the line of VM 12" in fix

    def test_a_damaged_table_is_a_problem(self, check, layout):
        layout.service.mkdir(parents=True)
        layout.node_keys.write_text("{")
        assert "is damaged" in check("superlink", checks_identity.keys)[1]
