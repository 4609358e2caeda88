"""The names and addresses at which a machine can be reached."""

import ipaddress
import json
import re
import socket
from collections.abc import Mapping

from oneflower.errors import ClusterError
from oneflower.opennebula.appliance.commands import Commands
from oneflower.settings.formats import split_address

CONTEXT_ADDRESS = re.compile(r"ETH[0-9]+_IP6?")
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not listened on


def own_addresses(environ: Mapping[str, str], commands: Commands) -> tuple[str, ...]:
    """Return the machine's addresses: those of the context (ETH0_IP first), else those of its interfaces.

    The context comes first because the container engine adds and removes bridges, which must not change the
    certificate.
    """
    given = [environ[name] for name in sorted(environ) if CONTEXT_ADDRESS.fullmatch(name)]
    found = [text for text in given if _is_address(text)] or _interfaces(commands)
    return tuple(dict.fromkeys(text for text in found if _is_address(text)))


def certificate_hosts(fleet_address: str, addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Return every name and address that the SuperLink's certificate must be valid for."""
    host, _ = split_address(fleet_address)
    names = ["localhost", "127.0.0.1", socket.gethostname(), *addresses]
    return tuple(dict.fromkeys(names if host in _WILDCARDS else [*names, host]))


def endpoint(fleet_address: str, addresses: tuple[str, ...]) -> str | None:
    """Return the address of the Fleet API for SuperNodes as ``host:port``; None if no IPv4 address is known.

    OneGate does not accept the brackets of an IPv6 address: with IPv6 only, set FL_SUPERLINK_ADDRESS.
    """
    host, port = split_address(fleet_address)
    candidates = addresses if host in _WILDCARDS else (host,)
    return next((f"{each}:{port}" for each in candidates if ":" not in each), None)


def _interfaces(commands: Commands) -> list[str]:
    try:
        links = json.loads(commands.run("ip", "-json", "address", "show", "scope", "global"))
        return [str(each["local"]) for link in links for each in link.get("addr_info", [])]
    except (ClusterError, ValueError, KeyError, TypeError):
        return []


def _is_address(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False
