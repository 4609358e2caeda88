"""Proxy variables: bypass proxies for connections to this machine, and find the proxy of a connection.

gRPC uses the first of ``grpc_proxy``, ``https_proxy`` and ``http_proxy`` for every connection, except to the
hosts of ``no_grpc_proxy``, or if that is unset ``no_proxy`` (grpc, doc/environment_variables.md).
"""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
PROXIES: Final = ("grpc_proxy", "https_proxy", "http_proxy")
EXCEPTIONS: Final = ("no_grpc_proxy", "no_proxy")


def direct_loopback(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with which a process and its children reach this machine without a proxy.

    The proxy variables themselves stay: an app's own downloads still use them.
    """
    listed = _hosts(environ.get("no_proxy", ""), environ.get("NO_PROXY", ""), ",".join(LOOPBACK))
    variables = {"no_proxy": listed, "NO_PROXY": listed}
    if "no_grpc_proxy" in environ:
        variables["no_grpc_proxy"] = _hosts(environ["no_grpc_proxy"], ",".join(LOOPBACK))
    return variables


def proxy_variable(host: str, environ: Mapping[str, str]) -> str | None:
    """Return the variable that sends gRPC connections to a host through a proxy; None if none does."""
    name = next((name for name in PROXIES if environ.get(name)), None)
    exceptions = next((environ[each] for each in EXCEPTIONS if environ.get(each)), "")
    if name is None or is_loopback(host) or any(_covers(each, host) for each in exceptions.split(",")):
        return None
    return name


def is_loopback(host: str) -> bool:
    """Return whether a name or an address is a loopback address of this machine."""
    bare = host.strip("[]")
    try:
        return bare == "localhost" or ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


def _hosts(*lists: str) -> str:
    found: Iterable[str] = (host.strip() for text in lists for host in text.split(","))
    return ",".join(dict.fromkeys(filter(None, found)))


def _covers(exception: str, host: str) -> bool:
    """Return whether an exception covers a host, as gRPC does: by network, or by the end of the name."""
    wanted, bare = exception.strip(), host.strip("[]")
    if not wanted:
        return False
    try:
        return ipaddress.ip_address(bare) in ipaddress.ip_network(wanted, strict=False)
    except ValueError:
        return bare.lower().endswith(wanted.lower())
