"""Read a service: the SuperLink's address and CA, and the partitions and keys of its SuperNodes.

Any VM of the service may have written what is read here, so each text is parsed as strictly as a variable: it
is what it should be, or it is not there.
"""

import base64
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from oneflower.flower.arguments import client_name
from oneflower.node_keys import NodeKey
from oneflower.opennebula.onegate.encoding import decode
from oneflower.opennebula.roles import Machine
from oneflower.parts import Part, Table
from oneflower.settings.formats import CONNECT_ADDRESS
from oneflower.settings.pem import CERTIFICATE

log = logging.getLogger(__name__)

PART_KEY, PARTS_KEY = "FL_PART", "FL_PARTS"
NO_PART = "none"  # published by a SuperNode that asks for a partition
NODE_KEY = "FL_NODE_KEY"
# Longer than any value that this project writes.
MOST_CHARACTERS = 64 * 1024
_ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*:[0-9]{1,5}", re.ASCII)
_ID = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class SuperLink:
    """What a SuperLink has published: its Fleet API as ``host:port``, and its CA (None without TLS).

    ``parts`` is its table of partitions; empty if it has assigned none.
    """

    address: str
    ca: str | None
    parts: Table


def find_superlink(service: Mapping[str, Any]) -> SuperLink | None:
    """Return the service's SuperLink; None until it has published its address."""
    for vm in _vms(service, Machine.SUPERLINK):
        if not _value(vm, "FL_ENDPOINT"):
            continue
        try:
            address, ca = _address(_value(vm, "FL_ENDPOINT")), _ca(_value(vm, "FL_CA_CERT"))
        except ValueError as error:
            log.warning("superlink ignored vm=%.20r reason=%s", vm.get("ID"), error)
            continue
        return SuperLink(address=address, ca=ca, parts=read_parts(_value(vm, PARTS_KEY)))
    return None


def own_part(service: Mapping[str, Any], vm_id: str) -> Part | None:
    """Compute a SuperNode's partition from its place among the role's VM ids; None if it is not there."""
    ids = sorted(supernode_ids(service))
    if not vm_id.isdigit() or int(vm_id) not in ids:
        return None
    wanted = max((_cardinality(role) for role in _roles(service, Machine.SUPERNODE)), default=0)
    return Part(index=ids.index(int(vm_id)), count=max(len(ids), wanted))


def supernode_ids(service: Mapping[str, Any]) -> frozenset[int]:
    """Return the VM ids of the SuperNodes' role, including those that are not running."""
    nodes = [node for role in _roles(service, Machine.SUPERNODE) for node in role.get("nodes") or []]
    given = [str(node.get("deploy_id", (_vm(node) or {}).get("ID"))) for node in nodes]
    return frozenset(int(text) for text in given if _ID.fullmatch(text))


def vm_name(service: Mapping[str, Any], vm_id: str) -> str:
    """Return the name of a SuperNode's VM, for people; empty where the service does not tell it."""
    names = (vm.get("NAME") for vm in _vms(service, Machine.SUPERNODE) if str(vm.get("ID")) == vm_id)
    return client_name(str(next(names, None) or ""))


def part_claims(service: Mapping[str, Any]) -> dict[int, Part | None]:
    """Return, by VM id, the partition that each SuperNode says it has, or None if it asks for one."""
    return {vm_id: read_part(word) for vm_id, word in _words(service, PART_KEY)}


def key_claims(service: Mapping[str, Any]) -> dict[int, NodeKey]:
    """Return, by VM id, the public key that each SuperNode's VM shows; what is no key is left out."""
    claims = {}
    for vm_id, word in _words(service, NODE_KEY):
        try:
            claims[vm_id] = NodeKey.from_word(word)
        except ValueError as error:
            log.warning("supernode key ignored vm=%d reason=%s", vm_id, error)
    return claims


def has_supernodes(service: Mapping[str, Any]) -> bool:
    """Whether the service shows its SuperNodes' role at all."""
    return any(True for _ in _roles(service, Machine.SUPERNODE))


def part_word(part: Part) -> str:
    """Return a partition as text for OneGate: index and count."""
    return f"{part.index}-{part.count}"


def read_part(word: str) -> Part | None:
    """Parse the text of `part_word`; None for any other text."""
    index, dash, count = word.partition("-")
    if not (dash and _ID.fullmatch(index) and _ID.fullmatch(count)) or int(index) >= int(count):
        return None
    return Part(index=int(index), count=int(count))


def parts_word(table: Table) -> str:
    """Return a table as text for OneGate: VM ids in the order of partitions."""
    return ":".join(map(str, table))


def read_parts(word: str) -> Table:
    """Parse the text of `parts_word`; empty for any other text."""
    given = word.split(":")
    return tuple(map(int, given)) if all(map(_ID.fullmatch, given)) and len({*given}) == len(given) else ()


def _words(service: Mapping[str, Any], key: str) -> Iterator[tuple[int, str]]:
    """Yield VM id and value of each SuperNode that shows a key."""
    for vm in _vms(service, Machine.SUPERNODE):
        vm_id, word = str(vm.get("ID")), _value(vm, key)
        if _ID.fullmatch(vm_id) and word:
            yield int(vm_id), word


def _value(vm: Mapping[str, Any], key: str) -> str:
    """Return a value of a VM's template; empty if it is no text, or longer than any that is published."""
    template = vm.get("USER_TEMPLATE")
    value = template.get(key) if isinstance(template, Mapping) else None
    return value if isinstance(value, str) and len(value) <= MOST_CHARACTERS else ""


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text):
        raise ValueError("its FL_ENDPOINT is not host:port")
    try:
        return CONNECT_ADDRESS.parse(text)
    except ValueError as error:
        raise ValueError(f"its FL_ENDPOINT: {error}") from None


def _ca(text: str) -> str | None:
    """Return certificates as PEM in normal form, whatever else the text holds."""
    if not text:
        return None
    try:
        return base64.b64decode(CERTIFICATE.parse(decode("FL_CA_CERT", text))).decode("ascii")
    except ValueError as error:
        raise ValueError(f"its FL_CA_CERT: {error}") from None


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
