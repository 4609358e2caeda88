"""How a SuperNode finds its SuperLink and its partition of the data."""

import base64
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from oneflower.errors import ClusterError
from oneflower.files import read_json
from oneflower.flower.arguments import NAME, client_name
from oneflower.opennebula.appliance import services
from oneflower.opennebula.appliance.certificates import ensure_supernode_ca
from oneflower.opennebula.appliance.configure import write_units
from oneflower.opennebula.appliance.gpus import devices
from oneflower.opennebula.appliance.identity import own_key_values
from oneflower.opennebula.appliance.stage import Stage
from oneflower.opennebula.appliance.systemd import Unit
from oneflower.opennebula.appliance.trust import allowed_address, known_address, remember_address, trusted_ca
from oneflower.opennebula.onegate import (
    NO_PART,
    PART_KEY,
    OneGateError,
    SuperLink,
    find_superlink,
    jitter,
    own_part,
    part_word,
    read_part,
    supernode_ids,
    vm_name,
)
from oneflower.opennebula.onegate.encoding import is_plain
from oneflower.parts import Part, part_of
from oneflower.settings import Resolution, Settings
from oneflower.settings.formats import node_pairs

log = logging.getLogger(__name__)

DISCOVERY_TIMEOUT_S = 600.0
DISCOVERY_EVERY_S = 5.0
# A SuperLink publishes its address and its CA in one call; an erase of another key may hide one for a moment.
CA_TIMEOUT_S = 60.0
# A SuperLink reads its service every ten seconds and publishes the table up to ten seconds later.
PARTITION_TIMEOUT_S = 90.0
# With these in FL_NODE_CONFIG the operator chooses a node's partition.
_OPERATOR_KEYS = ("partition-id", "num-partitions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What a SuperNode knows about its partition; None for unknown.

    Attributes
    ----------
    started
        The partition that its processes were started with; valid until a message assigns another one.
    assigned
        The partition that its SuperLink assigned last. A SuperLink that was replaced asks for it.
    member
        Whether the SuperLink is its service's and assigns it partitions. It assigns none to a SuperNode whose
        partition the operator chose.
    name
        The VM's name, which the training shows instead of Flower's node id; empty if unknown.
    """

    started: Part | None = None
    assigned: Part | None = None
    member: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """The SuperLink as ``host:port``, its CA as PEM (None if unknown), and the SuperNode's partition.

    ``waits`` is set for a SuperNode that is new to its SuperLink and has no partition yet.
    """

    address: str
    ca: str | None
    assignment: Assignment
    waits: bool = False


def find(stage: Stage, resolution: Resolution, *, running: bool = False) -> Join | None:
    """Look once for what the SuperNode needs; None if its SuperLink has not published it yet.

    A running SuperNode keeps the partition that it was started with: another one would restart it.

    Raises
    ------
    OneGateError
        The settings are not sufficient, and OneGate does not respond or this VM is not in a service.
    """
    settings = resolution.settings
    kept = _read(stage)
    alone = Join(address=settings.superlink_address, ca=None, assignment=kept)
    needs_service = not settings.superlink_address or (settings.tls_enabled and not settings.ssl_ca_certfile)
    if stage.onegate is None or (kept.started is not None and not needs_service):
        return alone
    try:
        service = stage.onegate.service(patience_s=0.0)
    except OneGateError as error:
        # Without a partition the SuperNode would train on all data: wait until the outage is over.
        if needs_service or error.passing:
            raise
        return alone
    found = find_superlink(service)
    if found is None:
        assignment = replace(kept, started=kept.started or own_part(service, _vm_id(stage)))
        return None if needs_service else replace(alone, assignment=assignment)
    is_ours = settings.superlink_address in {"", found.address}
    is_chosen = any(name in node_pairs(settings.node_config) for name in _OPERATOR_KEYS)
    member = is_ours and not is_chosen and _vm_id(stage) in map(str, supernode_ids(service))
    assigned = (part_of(found.parts, int(_vm_id(stage))) if member else None) or kept.assigned
    known = (kept.started or assigned) if running else (assigned or kept.started)
    started = known or own_part(service, _vm_id(stage))
    # A new name would restart a running SuperNode too; and what has no partition is not kept.
    name = kept.name or (vm_name(service, _vm_id(stage)) if started and not running else "")
    return Join(
        address=settings.superlink_address or _address(stage, settings, found),
        ca=found.ca,
        assignment=Assignment(started=started, assigned=assigned, member=member, name=name),
        waits=member and known is None,
    )


def _address(stage: Stage, settings: Settings, found: SuperLink) -> str:
    """Return the address to connect to: a VM of the service may have written the one that OneGate shows."""
    layout = stage.layout
    given = base64.b64decode(settings.ssl_ca_certfile) if settings.ssl_ca_certfile else None
    ca = given or trusted_ca(layout, found.ca).ca
    return allowed_address(settings, known=known_address(layout), found=found.address, ca=ca)


def ca_alarm(stage: Stage, settings: Settings, join: Join) -> str:
    """Return why the authority that OneGate shows is not trusted; empty if it is, or if none is needed."""
    if not settings.tls_enabled or settings.ssl_ca_certfile:
        return ""
    return trusted_ca(stage.layout, join.ca).alarm


def wait_for(stage: Stage, resolution: Resolution, *, sleep: Callable[[float], None] = time.sleep) -> Join:
    """Wait until the SuperLink has published what is needed, through outages of OneGate.

    A new SuperNode asks its SuperLink for a partition and waits up to PARTITION_TIMEOUT_S for it: without one
    it may train on the partition of another SuperNode.

    Raises
    ------
    OneGateError
        OneGate refuses for good, or does not respond during DISCOVERY_TIMEOUT_S.
    ClusterError
        The SuperLink has published nothing in that time.
    """
    began = time.monotonic()
    seen: float | None = None
    has_asked = False
    key = own_key_values(resolution.settings, stage.layout)
    has_key_shown = not key or stage.onegate is None
    while True:
        has_key_shown = has_key_shown or stage.publish(key)
        found, failure = _look(stage, resolution)
        now = time.monotonic()
        if found is not None:
            seen = now if seen is None else seen
            if now - seen >= _patience_s(found, resolution):
                return found
        if now - began >= DISCOVERY_TIMEOUT_S and not (found and _is_complete(found, resolution)):
            raise _not_found(failure)
        if found is not None and found.waits and not has_asked:
            has_asked = stage.publish({PART_KEY: NO_PART})
        log.info("waiting for the SuperLink reason=%s", failure or "it has not published what is needed")
        sleep(DISCOVERY_EVERY_S * jitter())


def _look(stage: Stage, resolution: Resolution) -> tuple[Join | None, OneGateError | None]:
    try:
        return find(stage, resolution), None
    except OneGateError as error:
        if not error.passing:
            raise
        return None, error


def _is_complete(found: Join, resolution: Resolution) -> bool:
    settings = resolution.settings
    return bool(found.ca or settings.ssl_ca_certfile or not settings.tls_enabled)


def _patience_s(found: Join, resolution: Resolution) -> float:
    """Return how long to wait for what is still missing."""
    for_ca = 0.0 if _is_complete(found, resolution) else CA_TIMEOUT_S
    return max(for_ca, PARTITION_TIMEOUT_S if found.waits else 0.0)


def _not_found(failure: OneGateError | None) -> ClusterError:
    if failure is not None:
        return OneGateError(
            f"no SuperLink was found within {DISCOVERY_TIMEOUT_S:.0f} s: {failure}. To do without OneGate, "
            "set FL_SUPERLINK_ADDRESS and FL_SSL_CA_CERTFILE",
            passing=True,
        )
    return ClusterError(
        f"no SuperLink has published its address in this service within {DISCOVERY_TIMEOUT_S:.0f} s: see "
        "FL_STATE and FL_ERROR of the role superlink, or set FL_SUPERLINK_ADDRESS"
    )


def prepare(stage: Stage, resolution: Resolution, join: Join) -> list[Unit]:
    """Write the CA and the units, keep the partition, and return the units to start."""
    ensure_supernode_ca(resolution.settings, stage.layout, join.ca, stage.now())
    _write(stage, join.assignment)
    remember_address(stage.layout, join.address)
    containers = services.supernode_containers(
        resolution.settings,
        stage.layout,
        superlink=join.address,
        pairs=node_config(resolution, join.assignment, _vm_id(stage)),
        devices=devices(stage.layout, resolution.settings),
    )
    return write_units(stage, resolution, containers)


def endpoint_values(join: Join) -> dict[str, str]:
    """Return the SuperLink's address to publish; none for an address in brackets."""
    return {"FL_ENDPOINT": join.address} if is_plain(join.address) else {}


def node_config(resolution: Resolution, assignment: Assignment, vm_id: str) -> Mapping[str, object]:
    """Return the SuperNode's configuration: computed values, overridden by those of the operator.

    An FL_BASE_MODEL that was set on this machine is used here, whatever the SuperLink has.
    """
    settings, given = resolution.settings, resolution.provenance["FL_BASE_MODEL"]
    part = assignment.started
    computed = {"partition-id": part.index, "num-partitions": part.count} if part else {}
    member = {"member-id": vm_id} if assignment.member else {}
    model = {} if given.is_default else {"base-model": f"'{settings.base_model}'"}
    name = {NAME: f"'{assignment.name}'"} if assignment.name else {}
    return {**computed, **member, **model, **name, **node_pairs(settings.node_config)}


def partition_values(stage: Stage) -> dict[str, str]:
    """Return the SuperNode's partition to publish, for a SuperLink that was replaced."""
    assignment = _read(stage)
    part = assignment.assigned or assignment.started
    return {PART_KEY: part_word(part)} if assignment.member and part else {}


def _vm_id(stage: Stage) -> str:
    return stage.onegate.access.vm_id if stage.onegate else ""


def _read(stage: Stage) -> Assignment:
    """Return the partition of before a reboot, which must not move data between SuperNodes."""
    try:
        kept: dict[str, Any] = read_json(stage.layout.join)
        if kept["vm"] != _vm_id(stage):
            return Assignment()
        return Assignment(
            started=Part(index=int(kept["index"]), count=int(kept["count"])),
            assigned=read_part(str(kept.get("told"))),
            member=kept.get("member") is True,
            name=client_name(str(kept.get("name", ""))),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Assignment()


def _write(stage: Stage, assignment: Assignment) -> None:
    part, assigned = assignment.started, assignment.assigned
    if part is None:
        return
    kept = {
        "vm": _vm_id(stage),
        "index": part.index,
        "count": part.count,
        "member": assignment.member,
        "name": assignment.name,
    }
    more = {"told": part_word(assigned)} if assigned else {}
    stage.layout.write(stage.layout.join, json.dumps({**kept, **more}) + "\n")
