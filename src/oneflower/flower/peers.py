"""Whether the other end of a connection is still there, as this machine's kernel knows it."""

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote

PROC: Final = Path("/proc/self/net")
ESTABLISHED: Final = "01"
_PEER: Final = re.compile(r"ipv[46]:\[?([^\]]+?)\]?:([0-9]{1,5})", re.ASCII)
_WORD_DIGITS: Final = 8
IPV6: Final = 6

Address = tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]


def is_connected(peer: str, proc: Path = PROC) -> bool:
    """Return whether a connection from `peer` (gRPC's ``ipv4:HOST:PORT``) is established.

    True also where that cannot be known: then only silence shows that a process is gone.
    """
    address = _address(peer)
    if address is None:
        return True
    try:
        tables = [(proc / name).read_text(encoding="ascii") for name in ("tcp", "tcp6")]
    except OSError:
        return True
    return any(address == found for text in tables for found in _remotes(text))


def network_of(peer: str) -> str:
    """Return the network that a caller can take addresses from at will: one of IPv4, a /64 of IPv6."""
    address = _address(peer)
    if address is None:
        return peer.rpartition(":")[0]
    host, _ = address
    return str(ipaddress.ip_network((host, 64 if host.version == IPV6 else 32), strict=False))


def _address(peer: str) -> Address | None:
    found = _PEER.fullmatch(unquote(peer))
    if found is None:
        return None
    try:
        return _plain(ipaddress.ip_address(found[1].partition("%")[0])), int(found[2])
    except ValueError:
        return None


def _remotes(table: str) -> Iterator[Address]:
    """Yield the other ends of the established connections of a table (proc_net_tcp)."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[3] == ESTABLISHED:
            host, _, port = fields[2].partition(":")
            yield _plain(_unpacked(host)), int(port, 16)


def _unpacked(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Read an address whose 32-bit words the kernel prints in its own byte order."""
    starts = range(0, len(text), _WORD_DIGITS)
    return ipaddress.ip_address(
        b"".join(bytes.fromhex(text[start : start + _WORD_DIGITS])[::-1] for start in starts)
    )


def _plain(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the IPv4 address that an IPv6 address stands for on a socket for both, else itself."""
    return getattr(address, "ipv4_mapped", None) or address
