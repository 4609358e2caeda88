"""How a SuperNode finds its SuperLink, and which part of the data is its own."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from oneflower.errors import ClusterError
from oneflower.opennebula.appliance import services
from oneflower.opennebula.appliance.certificates import keep_supernode_ca
from oneflower.opennebula.appliance.configure import write_units
from oneflower.opennebula.appliance.stage import Stage
from oneflower.opennebula.appliance.systemd import Unit
from oneflower.opennebula.onegate import (
    NO_PART,
    PART_KEY,
    OneGateError,
    find_superlink,
    jitter,
    own_part,
    part_word,
    read_part,
    supernode_ids,
)
from oneflower.opennebula.onegate.encoding import is_plain
from oneflower.parts import Part, part_of
from oneflower.settings import Resolution
from oneflower.settings.formats import node_pairs

log = logging.getLogger(__name__)

DISCOVERY_TIMEOUT_S = 600.0
DISCOVERY_EVERY_S = 5.0
# A SuperLink publishes its address and its CA in one call; an erase of another key may hide one for a moment.
CA_TIMEOUT_S = 60.0
# A SuperLink looks at its service every ten seconds, and what it decides is public ten seconds later.
PART_TIMEOUT_S = 90.0
# What an operator gives in FL_NODE_CONFIG to choose a node's part for good.
_PINS = ("partition-id", "num-partitions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a SuperNode knows of its part of the data; None where nobody said.

    Attributes
    ----------
    started
        The part that its processes are started with: it holds until a message hands out another.
    told
        The part that its SuperLink gave it last. A SuperLink that was replaced asks for it.
    member
        The SuperLink that it joins is its service's and hands it parts. It hands none to a node whose part
        the operator chose.
    """

    started: Part | None = None
    told: Part | None = None
    member: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """The SuperLink as ``host:port``, its CA as PEM, None where nobody said, and the node's part.

    ``waits`` is set for a node that is new to its SuperLink, which has handed it no part yet.
    """

    address: str
    ca: str | None
    share: Share
    waits: bool = False


def find(stage: Stage, resolution: Resolution, *, running: bool = False) -> Join | None:
    """Look once for what the SuperNode needs; None where its SuperLink has not published yet.

    One that is running keeps the part that it was started with: another would restart it.

    Raises
    ------
    OneGateError
        OneGate does not answer, or this VM is in no service, and the settings alone do not suffice.
    """
    settings = resolution.settings
    kept = _kept(stage)
    alone = Join(address=settings.superlink_address, ca=None, share=kept)
    needs_service = not settings.superlink_address or (settings.tls_enabled and not settings.ssl_ca_certfile)
    if stage.onegate is None or (kept.started is not None and not needs_service):
        return alone
    try:
        service = stage.onegate.service(patience_s=0.0)
    except OneGateError as error:
        # Without its part a node would train on everything: an outage is waited out.
        if needs_service or error.passing:
            raise
        return alone
    found = find_superlink(service)
    if found is None:
        share = replace(kept, started=kept.started or own_part(service, _vm_id(stage)))
        return None if needs_service else replace(alone, share=share)
    is_ours = settings.superlink_address in {"", found.address}
    is_pinned = any(name in node_pairs(settings.node_config) for name in _PINS)
    member = is_ours and not is_pinned and _vm_id(stage) in map(str, supernode_ids(service))
    told = (part_of(found.parts, int(_vm_id(stage))) if member else None) or kept.told
    known = (kept.started or told) if running else (told or kept.started)
    return Join(
        address=settings.superlink_address or found.address,
        ca=found.ca,
        share=Share(started=known or own_part(service, _vm_id(stage)), told=told, member=member),
        waits=member and known is None,
    )


def wait_for(stage: Stage, resolution: Resolution, *, sleep: Callable[[float], None] = time.sleep) -> Join:
    """Look until the SuperLink has published what is needed; an outage of OneGate meanwhile is waited out.

    A node that is new asks its SuperLink for a part and waits for that too, but not for ever: it would train
    on a part that another one has.

    Raises
    ------
    OneGateError
        OneGate refuses for good, or does not answer for the whole of DISCOVERY_TIMEOUT_S.
    ClusterError
        The SuperLink has published nothing in that time.
    """
    began = time.monotonic()
    seen: float | None = None
    has_asked = False
    while True:
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
    """Return how long to wait for what is missing of what was found."""
    for_ca = 0.0 if _is_complete(found, resolution) else CA_TIMEOUT_S
    return max(for_ca, PART_TIMEOUT_S if found.waits else 0.0)


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
    _keep(stage, join.share)
    containers = services.supernode_containers(
        resolution.settings,
        stage.layout,
        superlink=join.address,
        pairs=pairs(resolution, join.share, _vm_id(stage)),
    )
    return write_units(stage, resolution, containers)


def told(join: Join) -> dict[str, str]:
    """Return what OneGate is to know of the SuperLink; nothing of an address in brackets."""
    return {"FL_ENDPOINT": join.address} if is_plain(join.address) else {}


def pairs(resolution: Resolution, share: Share, vm_id: str) -> Mapping[str, object]:
    """Return the node's configuration: what was computed, and the operator's own pairs, which win.

    An FL_BASE_MODEL that was set on this machine holds for it, whatever the SuperLink's is.
    """
    settings, given = resolution.settings, resolution.provenance["FL_BASE_MODEL"]
    part = share.started
    computed = {"partition-id": part.index, "num-partitions": part.count} if part else {}
    member = {"member-id": vm_id} if share.member else {}
    model = {} if given.is_default else {"base-model": f"'{settings.base_model}'"}
    return {**computed, **member, **model, **node_pairs(settings.node_config)}


def hint(stage: Stage) -> dict[str, str]:
    """Return what OneGate is to know of this node's part, for a SuperLink that was replaced."""
    share = _kept(stage)
    part = share.told or share.started
    return {PART_KEY: part_word(part)} if share.member and part else {}


def _vm_id(stage: Stage) -> str:
    return stage.onegate.access.vm_id if stage.onegate else ""


def _kept(stage: Stage) -> Share:
    """Return what this VM was given before: a reboot must not move the data between nodes."""
    try:
        kept: dict[str, Any] = json.loads(stage.layout.join.read_text(encoding="utf-8"))
        if kept["vm"] != _vm_id(stage):
            return Share()
        return Share(
            started=Part(index=int(kept["index"]), count=int(kept["count"])),
            told=read_part(str(kept.get("told"))),
            member=kept.get("member") is True,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Share()


def _keep(stage: Stage, share: Share) -> None:
    part, told = share.started, share.told
    if part is None:
        return
    kept = {"vm": _vm_id(stage), "index": part.index, "count": part.count, "member": share.member}
    more = {"told": part_word(told)} if told else {}
    stage.layout.write(stage.layout.join, json.dumps({**kept, **more}) + "\n")
