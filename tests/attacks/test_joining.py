"""Who may join: a stranger is refused, and so is a copy of a key whose owner is alive.

Before, one call made anybody a client of a training; with the key of a SuperNode anybody could speak for it.
"""

import grpc
import pytest
from cryptography.hazmat.primitives import serialization

from oneflower.codes import RefusalCode
from oneflower.files import replace_file
from oneflower.node_keys import Pins
from oneflower.tls import make_node_key

pytestmark = pytest.mark.attacks
STRANGERS = 300


@pytest.fixture(scope="module")
def guarded(make_cluster):
    """Return a training whose SuperLink takes known keys only."""
    return make_cluster(NODE_AUTH="YES")


def refused(call):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    return caught.value.details()


def test_a_stranger_may_not_register_nor_activate(guarded):
    stranger = guarded.attacker(join=False)
    for call in (stranger.register, stranger.activate):
        assert "takes only SuperNodes whose public key it knows" in refused(call)
    with pytest.raises(grpc.RpcError):
        stranger.beat()
    with pytest.raises(grpc.RpcError):
        stranger.pull()
    guarded.check_unharmed()


def test_hundreds_of_strangers_fill_neither_journal_nor_log(guarded):
    before = len(guarded.events("join_refused"))
    for _ in range(STRANGERS):
        stranger = guarded.attacker(join=False)
        refused(stranger.register)
        stranger.leave()
    assert len(guarded.events("join_refused")) <= before + 3
    assert guarded.log("superlink").count("code=unknown_key") <= before + 4
    guarded.check_unharmed()


def test_a_copied_key_is_refused_and_reported(guarded):
    key = serialization.load_ssh_private_key(
        (guarded.state / "tls" / "supernode-0.key").read_bytes(), password=None
    )
    thief = guarded.attacker(join=False, key=key)
    assert "in use by a process that is connected" in refused(thief.activate)
    event = guarded.wait_for("join_refused", code=RefusalCode.KEY_IN_USE)
    assert "copied" in event.reason
    guarded.check_unharmed()


def test_another_key_for_a_known_vm_is_an_alarm_and_no_member(guarded):
    """What the report service of an appliance writes when OneGate shows another key for a VM."""
    file = guarded.state / "tls" / "node-keys.json"
    pins, (_, other) = Pins.parse(file.read_text()), make_node_key()
    shown = pins.follow(frozenset(pins.keys), {**pins.keys, 0: other})
    assert shown.keys == pins.keys
    replace_file(file, shown.text().encode(), mode=0o600)
    event = guarded.wait_for("join_refused", code=RefusalCode.KEY_CHANGED)
    assert (event.vm, event.key) == ("0", other.fingerprint)
    guarded.check_unharmed()
