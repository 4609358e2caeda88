"""How a SuperNode finds its SuperLink, and which part of the data is its own."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from oneflower.errors import ClusterError
from oneflower.flower.arguments import node_pairs
from oneflower.opennebula.appliance import services
from oneflower.opennebula.appliance.certificates import keep_supernode_ca
from oneflower.opennebula.appliance.configure import write_units
from oneflower.opennebula.appliance.stage import Stage
from oneflower.opennebula.appliance.systemd import Unit
from oneflower.opennebula.onegate import OneGateError, Part, find_superlink, jitter, own_part
from oneflower.settings import Resolution

log = logging.getLogger(__name__)

DISCOVERY_TIMEOUT_S = 600.0
DISCOVERY_EVERY_S = 5.0
# A SuperLink publishes its address and its CA in one call; an erase of another key may hide one for a moment.
CA_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """The SuperLink as ``host:port``, its CA as PEM, and the node's part; None where nobody said."""

    address: str
    ca: str | None
    part: Part | None


def find(stage: Stage, resolution: Resolution) -> Join | None:
    """Look once for what the SuperNode needs; None where its SuperLink has not published yet.

    Raises
    ------
    OneGateError
        OneGate does not answer, or this VM is in no service, and the settings alone do not suffice.
    """
    settings = resolution.settings
    part = _kept_part(stage)
    needs_service = not settings.superlink_address or (settings.tls_enabled and not settings.ssl_ca_certfile)
    if stage.onegate is None or (part is not None and not needs_service):
        return Join(address=settings.superlink_address, ca=None, part=part)
    try:
        service = stage.onegate.service(patience_s=0.0)
    except OneGateError as error:
        # Without its part a node would train on everything: an outage is waited out.
        if needs_service or error.passing:
            raise
        return Join(address=settings.superlink_address, ca=None, part=part)
    part = part or own_part(service, stage.onegate.access.vm_id)
    found = find_superlink(service)
    if found is None and needs_service:
        return None
    return Join(
        address=settings.superlink_address or (found.address if found else ""),
        ca=found.ca if found else None,
        part=part,
    )


def wait_for(stage: Stage, resolution: Resolution, *, sleep: Callable[[float], None] = time.sleep) -> Join:
    """Look until the SuperLink has published what is needed; an outage of OneGate meanwhile is waited out.

    Raises
    ------
    OneGateError
        OneGate refuses for good, or does not answer for the whole of DISCOVERY_TIMEOUT_S.
    ClusterError
        The SuperLink has published nothing in that time.
    """
    began = time.monotonic()
    seen_without_ca: float | None = None
    while True:
        found, failure = _look(stage, resolution)
        now = time.monotonic()
        if found is not None:
            seen_without_ca = now if seen_without_ca is None else seen_without_ca
            if _is_complete(found, resolution) or now - seen_without_ca >= CA_TIMEOUT_S:
                return found
        if now - began >= DISCOVERY_TIMEOUT_S:
            raise _not_found(failure)
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


def _not_found(failure: OneGateError | None) -> ClusterError:
    if failure is not None:
        return OneGateError(
            f"no SuperLink was found in {DISCOVERY_TIMEOUT_S:.0f} s: {failure}. Without OneGate, set "
            "FL_SUPERLINK_ADDRESS and FL_SSL_CA_CERTFILE",
            passing=True,
        )
    return ClusterError(
        f"no SuperLink has published its address in this service within {DISCOVERY_TIMEOUT_S:.0f} s: "
        "look at FL_STATE and FL_ERROR of the superlink role, or set FL_SUPERLINK_ADDRESS"
    )


def prepare(stage: Stage, resolution: Resolution, join: Join) -> list[Unit]:
    """Write the CA and the units for what was found, remember the part, and return what to start."""
    keep_supernode_ca(resolution.settings, stage.layout, join.ca, stage.now())
    _keep_part(stage, join.part)
    containers = services.supernode_containers(
        resolution.settings,
        stage.layout,
        superlink=join.address,
        pairs=pairs(resolution, join.part),
    )
    return write_units(stage, resolution, containers)


def pairs(resolution: Resolution, part: Part | None) -> Mapping[str, object]:
    """Return the node's configuration: its computed part, and the operator's own pairs, which win.

    An FL_BASE_MODEL that was set on this machine holds for it, whatever the SuperLink's is.
    """
    computed = {"partition-id": part.index, "num-partitions": part.count} if part else {}
    settings, given = resolution.settings, resolution.provenance["FL_BASE_MODEL"]
    model = {} if given.is_default else {"base-model": f"'{settings.base_model}'"}
    return {**computed, **model, **node_pairs(settings.node_config)}


def _vm_id(stage: Stage) -> str:
    return stage.onegate.access.vm_id if stage.onegate else ""


def _kept_part(stage: Stage) -> Part | None:
    """Return the part that this VM was given before: a reboot must not move the data between nodes."""
    try:
        kept: dict[str, Any] = json.loads(stage.layout.join.read_text(encoding="utf-8"))
        if kept["vm"] != _vm_id(stage):
            return None
        return Part(index=int(kept["index"]), count=int(kept["count"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep_part(stage: Stage, part: Part | None) -> None:
    if part is not None:
        kept = {"vm": _vm_id(stage), "index": part.index, "count": part.count}
        stage.layout.write(stage.layout.join, json.dumps(kept) + "\n")
