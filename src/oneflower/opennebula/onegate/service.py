"""What a machine reads from its service: where the SuperLink is, and which part of the data is its own."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from oneflower.opennebula.onegate.encoding import decode
from oneflower.opennebula.roles import Machine

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SuperLink:
    """What a SuperLink has published: its Fleet API as ``host:port``, and its CA; None for no TLS."""

    address: str
    ca: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One node's part of data that all nodes share: `index` (from 0) of `count`."""

    index: int
    count: int


def find_superlink(service: Mapping[str, Any]) -> SuperLink | None:
    """Return the service's SuperLink, once it has published where it is; None before."""
    for vm in _vms(service, Machine.SUPERLINK):
        told = vm.get("USER_TEMPLATE") or {}
        address = str(told.get("FL_ENDPOINT") or "")
        if not address:
            continue
        try:
            ca = decode("FL_CA_CERT", str(told["FL_CA_CERT"])) if told.get("FL_CA_CERT") else None
        except ValueError as error:
            log.warning("superlink not taken vm=%s reason=%s", vm.get("ID"), error)
            continue
        return SuperLink(address=address, ca=ca)
    return None


def own_part(service: Mapping[str, Any], vm_id: str) -> Part | None:
    """Return the part of a SuperNode: its place among the role's VM ids; None where it is none of them."""
    ids = sorted({int(vm["ID"]) for vm in _vms(service, Machine.SUPERNODE) if str(vm.get("ID")).isdigit()})
    if not vm_id.isdigit() or int(vm_id) not in ids:
        return None
    wanted = max((_cardinality(role) for role in _roles(service, Machine.SUPERNODE)), default=0)
    return Part(index=ids.index(int(vm_id)), count=max(len(ids), wanted))


def _roles(service: Mapping[str, Any], machine: Machine) -> Iterator[Mapping[str, Any]]:
    for role in service.get("roles") or []:
        if role.get("name") == machine.value:
            yield role


def _vms(service: Mapping[str, Any], machine: Machine) -> Iterator[Mapping[str, Any]]:
    for role in _roles(service, machine):
        for node in role.get("nodes") or []:
            vm = (node.get("vm_info") or {}).get("VM")
            if vm:
                yield vm


def _cardinality(role: Mapping[str, Any]) -> int:
    text = str(role.get("cardinality", ""))
    return int(text) if text.isdigit() else 0
