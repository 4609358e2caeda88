"""What a machine reads from its service: where the SuperLink is, and which part of the data is its own."""

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from oneflower.flower.arguments import client_name
from oneflower.opennebula.onegate.encoding import decode
from oneflower.opennebula.roles import Machine
from oneflower.parts import Part, Table

log = logging.getLogger(__name__)

PART_KEY, PARTS_KEY = "FL_PART", "FL_PARTS"
NO_PART = "none"  # of a SuperNode that asks for one
# What a SuperLink publishes; any VM of the service may write there.
_ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*:[0-9]{1,5}", re.ASCII)
_ID = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class SuperLink:
    """What a SuperLink has published: its Fleet API as ``host:port``, and its CA; None for no TLS.

    ``parts`` says which SuperNode has which part of the data; empty where it has handed out none.
    """

    address: str
    ca: str | None
    parts: Table


def find_superlink(service: Mapping[str, Any]) -> SuperLink | None:
    """Return the service's SuperLink, once it has published where it is; None before."""
    for vm in _vms(service, Machine.SUPERLINK):
        told = vm.get("USER_TEMPLATE") or {}
        address = str(told.get("FL_ENDPOINT") or "")
        if not address:
            continue
        if not _ADDRESS.fullmatch(address):
            log.warning("superlink not taken vm=%s reason=its FL_ENDPOINT is no host:port", vm.get("ID"))
            continue
        try:
            ca = decode("FL_CA_CERT", str(told["FL_CA_CERT"])) if told.get("FL_CA_CERT") else None
        except ValueError as error:
            log.warning("superlink not taken vm=%s reason=%s", vm.get("ID"), error)
            continue
        return SuperLink(address=address, ca=ca, parts=read_parts(str(told.get(PARTS_KEY) or "")))
    return None


def own_part(service: Mapping[str, Any], vm_id: str) -> Part | None:
    """Return the part of a SuperNode: its place among the role's VM ids; None where it is none of them."""
    ids = sorted(supernode_ids(service))
    if not vm_id.isdigit() or int(vm_id) not in ids:
        return None
    wanted = max((_cardinality(role) for role in _roles(service, Machine.SUPERNODE)), default=0)
    return Part(index=ids.index(int(vm_id)), count=max(len(ids), wanted))


def supernode_ids(service: Mapping[str, Any]) -> frozenset[int]:
    """Return the VM ids of the SuperNodes' role, those that do not run included."""
    nodes = [node for role in _roles(service, Machine.SUPERNODE) for node in role.get("nodes") or []]
    given = [str(node.get("deploy_id", (_vm(node) or {}).get("ID"))) for node in nodes]
    return frozenset(int(text) for text in given if _ID.fullmatch(text))


def vm_name(service: Mapping[str, Any], vm_id: str) -> str:
    """Return the name of a SuperNode's VM, for people; empty where the service does not tell it."""
    names = (vm.get("NAME") for vm in _vms(service, Machine.SUPERNODE) if str(vm.get("ID")) == vm_id)
    return client_name(str(next(names, None) or ""))


def part_claims(service: Mapping[str, Any]) -> dict[int, Part | None]:
    """Return which SuperNodes want a part, by VM id, and the one that they say they were given, or None."""
    said = {str(vm.get("ID")): (vm.get("USER_TEMPLATE") or {}) for vm in _vms(service, Machine.SUPERNODE)}
    words = {vm_id: template.get(PART_KEY) for vm_id, template in said.items() if _ID.fullmatch(vm_id)}
    return {int(vm_id): read_part(str(word)) for vm_id, word in words.items() if word}


def part_word(part: Part) -> str:
    """Return a part as OneGate takes it: its index and how many there are."""
    return f"{part.index}-{part.count}"


def read_part(word: str) -> Part | None:
    """Read what `part_word` writes; None for anything else."""
    index, dash, count = word.partition("-")
    if not (dash and _ID.fullmatch(index) and _ID.fullmatch(count)) or int(index) >= int(count):
        return None
    return Part(index=int(index), count=int(count))


def parts_word(table: Table) -> str:
    """Return a table as OneGate takes it: VM ids by part."""
    return ":".join(map(str, table))


def read_parts(word: str) -> Table:
    """Read what `parts_word` writes; empty for anything else."""
    given = word.split(":")
    return tuple(map(int, given)) if all(map(_ID.fullmatch, given)) and len({*given}) == len(given) else ()


def _roles(service: Mapping[str, Any], machine: Machine) -> Iterator[Mapping[str, Any]]:
    for role in service.get("roles") or []:
        if role.get("name") == machine.value:
            yield role


def _vms(service: Mapping[str, Any], machine: Machine) -> Iterator[Mapping[str, Any]]:
    for role in _roles(service, machine):
        for node in role.get("nodes") or []:
            vm = _vm(node)
            if vm:
                yield vm


def _vm(node: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = (node.get("vm_info") or {}).get("VM")
    return found


def _cardinality(role: Mapping[str, Any]) -> int:
    text = str(role.get("cardinality", ""))
    return int(text) if text.isdigit() else 0
