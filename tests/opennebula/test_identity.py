"""Each SuperNode has a key; the SuperLink pins the first one of each VM and lets no other join."""

import logging
import os
import stat

import pytest

from oneflower.errors import StateError
from oneflower.node_keys import NodeKey, Pins
from oneflower.opennebula.appliance import bootstrap as bootstrapping
from oneflower.opennebula.appliance import join as joining
from oneflower.opennebula.appliance.configure import configure
from oneflower.opennebula.appliance.identity import alarm, follow_keys, read_pins
from oneflower.opennebula.appliance.partitions import PartitionTable
from oneflower.opennebula.appliance.report import error_values
from oneflower.opennebula.onegate import find_superlink, key_claims, part_claims, vm_name
from oneflower.opennebula.onegate.service import MOST_CHARACTERS
from oneflower.opennebula.rendering import env_value, systemd_command
from oneflower.tls import make_node_key, read_node_key


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(bootstrapping, "HEALTH_TIMEOUT_S", 0.0)
    for name in ("CA_TIMEOUT_S", "DISCOVERY_TIMEOUT_S", "PARTITION_TIMEOUT_S"):
        monkeypatch.setattr(joining, name, 0.0)


def a_key():
    return make_node_key()[1]


def service_of(words, *, role="supernode", superlink=None):
    """Return a service with SuperNodes by VM id, each with a template."""
    nodes = [
        {"deploy_id": vm, "vm_info": {"VM": {"ID": str(vm), "USER_TEMPLATE": template}}}
        for vm, template in words.items()
    ]
    link = {"deploy_id": 10, "vm_info": {"VM": {"ID": "10", "USER_TEMPLATE": superlink or {}}}}
    return {"roles": [{"name": "superlink", "nodes": [link]}, {"name": role, "nodes": nodes}]}


class TestSuperNode:
    def test_it_makes_a_key_and_publishes_the_public_one(self, stage_of, layout, onegate):
        configure(stage_of("supernode", vm=12))
        word = onegate.state.vms[12]["template"]["FL_NODE_KEY"]
        assert NodeKey.from_word(word) == read_node_key(layout.node_key)
        found = layout.node_key.stat()
        assert stat.S_IMODE(found.st_mode) == 0o600
        assert found.st_uid == layout.uid

    def test_the_key_stays_over_reboots(self, stage_of, layout):
        configure(stage_of("supernode", vm=12))
        before = layout.node_key.read_bytes()
        configure(stage_of("supernode", vm=12))
        assert layout.node_key.read_bytes() == before

    @pytest.mark.parametrize("off", [{"FL_NODE_AUTH": "NO"}, {"FL_TLS_ENABLED": "NO"}])
    def test_without_authentication_there_is_no_key(self, stage_of, layout, onegate, off):
        configure(stage_of("supernode", vm=12, **off))
        assert not layout.node_key.exists()
        assert "FL_NODE_KEY" not in onegate.state.vms[12]["template"]

    def test_a_file_that_is_no_key_is_not_replaced(self, stage_of, layout):
        layout.make(checkpoints=False)
        layout.node_key.write_text("rubbish")
        with pytest.raises(StateError, match="remove it and start again"):
            configure(stage_of("supernode", vm=12))
        assert layout.node_key.read_text() == "rubbish"


class TestPins:
    def test_the_first_key_of_a_vm_is_pinned_and_survives_a_restart(self, layout, caplog):
        layout.make(checkpoints=False)
        first, other = a_key(), a_key()
        follow_keys(layout, service_of({11: {"FL_NODE_KEY": first.word}, 12: {}}))
        assert read_pins(layout) == Pins(keys={11: first})
        with caplog.at_level(logging.ERROR):
            pins = follow_keys(layout, service_of({11: {"FL_NODE_KEY": other.word}, 12: {}}))
        assert pins.keys == {11: first}
        assert pins.changed == {11: other.fingerprint}
        assert "supernode key changed vm=11" in caplog.text
        assert other.fingerprint in error_values([alarm(pins)])["FL_ERROR"]
        pins = follow_keys(layout, service_of({11: {"FL_NODE_KEY": first.word}, 12: {}}))
        assert alarm(pins) == ""

    def test_one_vm_has_one_key_and_one_key_one_vm(self, layout):
        layout.make(checkpoints=False)
        key = a_key()
        service = service_of({11: {"FL_NODE_KEY": key.word}, 12: {"FL_NODE_KEY": key.word}})
        pins = follow_keys(layout, service)
        assert pins.keys == {11: key}
        assert pins.changed == {12: key.fingerprint}

    def test_a_vm_that_is_gone_loses_its_key(self, layout):
        layout.make(checkpoints=False)
        keys = {vm: a_key() for vm in (11, 12)}
        follow_keys(layout, service_of({vm: {"FL_NODE_KEY": key.word} for vm, key in keys.items()}))
        assert follow_keys(layout, service_of({12: {}})).keys == {12: keys[12]}

    def test_a_service_that_does_not_show_its_supernodes_says_nothing(self, layout):
        layout.make(checkpoints=False)
        key = a_key()
        follow_keys(layout, service_of({11: {"FL_NODE_KEY": key.word}}))
        assert follow_keys(layout, service_of({}, role="others")).keys == {11: key}

    def test_a_key_of_another_role_is_not_pinned(self, layout):
        layout.make(checkpoints=False)
        service = service_of({12: {}}, superlink={"FL_NODE_KEY": a_key().word})
        assert follow_keys(layout, service).keys == {}

    def test_the_superlink_pins_a_key_before_it_assigns_a_partition(self, stage_of, client_of, layout, hours):
        layout.make(checkpoints=False)
        key = a_key()
        client_of(12).publish({"FL_NODE_KEY": key.word, "FL_PART": "none"})
        table = PartitionTable(stage_of("superlink", vm=10), hours.clock)
        assert table.update() == {"FL_PARTS": "12"}
        assert read_pins(layout).keys == {12: key}
        assert stat.S_IMODE(layout.node_keys.stat().st_mode) == 0o644

    @pytest.mark.parametrize(
        "text", ["", "[]", "{", '{"keys": {"1": 2}}', '{"keys": {}, "changed": []}', "[" * 9999]
    )
    def test_a_damaged_file_is_none(self, layout, text):
        layout.make(checkpoints=False)
        layout.node_keys.write_text(text)
        assert read_pins(layout) == Pins()


HOSTILE = [
    "10.0.0.2:9092\nExecStartPost=/bin/touch /pwned\n#",
    "10.0.0.2:9092\r",
    "10.0.0.2:9092\n",
    "10.0.0.2:99999",
    "0.0.0.0:9092",
    "[fe80::1%eth0]:9092 --insecure",
    "--insecure:1",
    "a" * (MOST_CHARACTERS + 1),
    "\x00",
    "\u2028",
    "é:1",
    "${superlink}",
    "$(touch /pwned)",
    '"',
    "%n",
    {"a": 1},
    ["10.0.0.2:9092"],
    17,
    True,
]


class TestHostileTexts:
    """OneGate lets a VM write the template of another one; a newline in FL_ENDPOINT reached a unit file."""

    @pytest.mark.parametrize("word", HOSTILE, ids=repr)
    def test_no_text_of_a_peer_is_taken_for_what_it_is_not(self, word):
        good = "10.0.0.2:9092"
        link = {"FL_ENDPOINT": good, "FL_PARTS": word}
        assert find_superlink(service_of({}, superlink=link)).parts == ()
        assert find_superlink(service_of({}, superlink={"FL_ENDPOINT": word})) is None
        found = find_superlink(service_of({}, superlink={"FL_ENDPOINT": good, "FL_CA_CERT": word}))
        assert found is None or found.ca is None
        service = service_of({12: {"FL_NODE_KEY": word, "FL_PART": word}})
        assert key_claims(service) == {}
        assert part_claims(service).get(12) is None
        service["roles"][1]["nodes"][0]["vm_info"]["VM"]["NAME"] = word
        assert set(vm_name(service, "12")) <= set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
        )

    def test_a_template_that_is_no_table_is_empty(self):
        assert find_superlink(service_of({}, superlink=["FL_ENDPOINT"])) is None
        assert key_claims(service_of({12: "FL_NODE_KEY"})) == {}

    def test_the_writers_of_units_and_env_files_refuse_a_line_break(self):
        for text in ("a\nExecStart=/bin/x", "a\r", "a\u2028b", "a\0"):
            with pytest.raises(ValueError, match="control character"):
                systemd_command(["/usr/bin/docker", text])
            with pytest.raises(ValueError, match="control character"):
                env_value(text)


@pytest.mark.skipif(os.getuid() != 0, reason="files are given to another user")
def test_the_key_belongs_to_the_containers_user(stage_of, layout):
    configure(stage_of("supernode", vm=12))
    assert layout.node_key.stat().st_uid == 49999
