"""Who a SuperNode is: its own key, and the first key of each VM, which the SuperLink keeps."""

import logging
from collections.abc import Mapping
from typing import Any

from oneflower.errors import StateError
from oneflower.node_keys import Pins
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.onegate import NODE_KEY, has_supernodes, key_claims, supernode_ids
from oneflower.settings import Settings
from oneflower.tls import ensure_node_key, read_node_key

log = logging.getLogger(__name__)


def ensure_own_key(settings: Settings, layout: Layout) -> dict[str, str]:
    """Make the SuperNode's key if it has none, and return what to publish; nothing without FL_NODE_AUTH.

    Raises
    ------
    StateError
        The file is no key, or cannot be written.
    """
    if not settings.authenticates_nodes:
        return {}
    path = layout.node_key
    try:
        key, is_new = ensure_node_key(path)
        layout.chown_to_containers(path)
    except ValueError as error:
        raise StateError(
            f"{path} is not this SuperNode's private key ({error}): expected an OpenSSH key of a NIST "
            "curve. Restore it, or remove it and start again: another key is made, which the SuperLink "
            f"refuses until {layout.node_keys} is removed there"
        ) from None
    except OSError as error:
        raise StateError(f"cannot write {path}: {error.strerror}; fix that and start again") from None
    if is_new:
        log.info("supernode key created key=%s", key.fingerprint)
    return {NODE_KEY: key.word}


def own_key_values(settings: Settings, layout: Layout) -> dict[str, str]:
    """Return the SuperNode's public key to publish; nothing if it has none."""
    if not settings.authenticates_nodes:
        return {}
    try:
        return {NODE_KEY: read_node_key(layout.node_key).word}
    except (OSError, ValueError):
        return {}


def follow_keys(layout: Layout, service: Mapping[str, Any]) -> Pins:
    """Pin the first key of each SuperNode's VM; the SuperLink reads the file and lets these keys join.

    A service without the SuperNodes' role says nothing about them.

    Raises
    ------
    StateError
        The file cannot be written.
    """
    before = read_pins(layout)
    if not has_supernodes(service):
        return before
    pins = before.follow(supernode_ids(service), key_claims(service))
    if pins == before and layout.node_keys.is_file():
        return pins
    layout.write_readable(layout.node_keys, pins.text())
    for vm in pins.keys.keys() - before.keys.keys():
        log.info("supernode key pinned vm=%d key=%s", vm, pins.keys[vm].fingerprint)
    for vm in before.keys.keys() - pins.keys.keys():
        log.info("supernode key forgotten vm=%d reason=its VM has left the service", vm)
    for vm, fingerprint in pins.changed.items():
        if before.changed.get(vm) != fingerprint:
            log.error("supernode key changed vm=%d key=%s reason=%s", vm, fingerprint, _kept(pins, vm))
    return pins


def alarm(pins: Pins) -> str:
    """Return what to show of keys that changed; empty if none did."""
    if not pins.changed:
        return ""
    vms = ", ".join(f"VM {vm} ({fingerprint})" for vm, fingerprint in sorted(pins.changed.items())[:8])
    return (
        f"another public key than the one that the SuperLink knows is shown for {vms}: the known key "
        "stays, and the other one may not join. See `oneflower appliance doctor` on the SuperLink"
    )


def read_pins(layout: Layout) -> Pins:
    """Return the pins of the SuperLink; none if there is no file, or a damaged one, which is logged."""
    try:
        return Pins.parse(layout.node_keys.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Pins()
    except (OSError, ValueError) as error:
        log.warning("pinned keys not read file=%s reason=%s", layout.node_keys, error)
        return Pins()


def _kept(pins: Pins, vm: int) -> str:
    if vm in pins.keys:
        return f"its first key {pins.keys[vm].fingerprint} stays"
    return "the key is another VM's"
