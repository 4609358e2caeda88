"""Check that names resolve and that the SuperLink can be reached."""

import errno
import ipaddress
import re
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from oneflower.findings import Finding, ok, problem, skipped
from oneflower.opennebula.appliance import services
from oneflower.opennebula.appliance.addresses import endpoint, own_addresses
from oneflower.opennebula.doctor.host import Host
from oneflower.opennebula.onegate import find_superlink
from oneflower.opennebula.roles import Machine
from oneflower.settings.formats import split_address

NAMES, ROUTE = "names", "route"
CONNECT_S = 5.0
RESOLV_CONF = "etc/resolv.conf"
_DEFAULT = "0.0.0.0:9092"
_SUPERLINK_OF_UNIT = re.compile(r'"--superlink" "([^"]+)"')
_FIREWALL = "allow 9092/tcp to the SuperLink in its security group and firewall, and check ETHx_ROUTES"
_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL)


def superlink_address(host: Host) -> str:
    """Return the address (``host:port``) at which this machine reaches the SuperLink; empty if unknown."""
    resolution = host.facts.resolution
    if host.machine is Machine.SUPERLINK:
        fleet = resolution.settings.fleet_api_address if resolution else _DEFAULT
        return (
            endpoint(fleet, own_addresses(host.context, host.commands))
            or f"127.0.0.1:{split_address(fleet)[1]}"
        )
    if resolution and resolution.settings.superlink_address:
        return resolution.settings.superlink_address
    link = find_superlink(host.facts.service or {})
    return link.address if link else _of_unit(host)


def names(host: Host) -> Iterator[Finding]:
    """Resolve the names that this machine uses; most clusters use only addresses."""
    onegate = urlsplit(host.context.get("ONEGATE_ENDPOINT", "")).hostname or ""
    address = superlink_address(host)
    wanted = [name for name in (onegate, _host_of(address)) if name and not _is_address(name)]
    if not wanted:
        yield ok(NAMES, "none needed: OneGate and the SuperLink are given as addresses")
        return
    servers = _servers(host)
    for name in dict.fromkeys(wanted):
        try:
            found = {str(each[4][0]) for each in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
        except OSError as error:
            servers_text = (
                f"name servers {', '.join(servers)}" if servers else f"no name server in /{RESOLV_CONF}"
            )
            yield problem(
                NAMES,
                f"{name} does not resolve ({error.strerror or error}); {servers_text}",
                "set ETHx_DNS or DNS in the context, or use its address",
            )
        else:
            yield ok(NAMES, f"{name} resolves to {', '.join(sorted(found))}")


def route(host: Host) -> Iterator[Finding]:
    """Open a connection to the Fleet API, and distinguish the reasons for a failure."""
    address = superlink_address(host)
    if not address:
        yield skipped(ROUTE, "the address of the SuperLink is not known")
        return
    try:
        socket.create_connection(split_address(address), timeout=CONNECT_S).close()
    except OSError as error:
        yield _unreachable(host, address, error)
    else:
        yield ok(ROUTE, f"the Fleet API at {address} accepts connections")


def _unreachable(host: Host, address: str, error: OSError) -> Finding:
    is_own = host.machine is Machine.SUPERLINK
    if isinstance(error, TimeoutError):
        fix = "check `nft list ruleset` on this machine" if is_own else _FIREWALL
        return problem(
            ROUTE, f"no response from {address} within {CONNECT_S:.0f} s: packets are dropped", fix
        )
    if isinstance(error, ConnectionRefusedError):
        fix = (
            "see the check of flower-superlink.service"
            if is_own
            else "run `oneflower appliance doctor` on the SuperLink"
        )
        return problem(ROUTE, f"{address} refuses connections: no SuperLink is listening there", fix)
    if isinstance(error, socket.gaierror):
        return problem(ROUTE, f"the name in {address} does not resolve", "see the check `names`")
    if error.errno in _NO_ROUTE:
        fix = "check `ip route` here, ETHx_GATEWAY and ETHx_ROUTES, and that both VMs are in the same network"
        return problem(ROUTE, f"no route to {address} ({error.strerror})", fix)
    return problem(ROUTE, f"{address} cannot be reached: {error}", _FIREWALL)


def _of_unit(host: Host) -> str:
    unit = host.layout.units / f"{services.SUPERNODE_NAME}.service"
    try:
        found = _SUPERLINK_OF_UNIT.search(unit.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return found[1] if found else ""


def _host_of(address: str) -> str:
    return split_address(address)[0] if address else ""


def _servers(host: Host) -> list[str]:
    try:
        lines = host.path(RESOLV_CONF).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [words[1] for words in map(str.split, lines) if len(words) > 1 and words[0] == "nameserver"]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
