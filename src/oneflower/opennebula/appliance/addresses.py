"""The names and addresses under which a machine is reached."""

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

    Bridges of the container engine come and go; the certificate must not follow them.
    """
    told = [environ[name] for name in sorted(environ) if CONTEXT_ADDRESS.fullmatch(name)]
    found = [text for text in told if _is_address(text)] or _interfaces(commands)
    return tuple(dict.fromkeys(text for text in found if _is_address(text)))


def certificate_hosts(fleet_address: str, addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Return what the SuperLink's certificate must bear: every way in which it may be called."""
    host, _ = split_address(fleet_address)
    names = ["localhost", "127.0.0.1", socket.gethostname(), *addresses]
    return tuple(dict.fromkeys(names if host in _WILDCARDS else [*names, host]))


def endpoint(fleet_address: str, addresses: tuple[str, ...]) -> str | None:
    """Return where SuperNodes find the Fleet API, as ``host:port``; None where no IPv4 address is known.

    OneGate's bodies take no brackets: a cluster on IPv6 alone gives FL_SUPERLINK_ADDRESS.
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
