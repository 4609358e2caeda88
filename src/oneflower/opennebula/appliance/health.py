"""Whether a SuperLink responds and a SuperNode is registered; a running unit alone does not show that."""

import socket
import ssl
from pathlib import Path

from oneflower.errors import ClusterError
from oneflower.flower.sockets import socket_of
from oneflower.opennebula.appliance.systemd import Systemd
from oneflower.settings import Settings
from oneflower.settings.formats import split_address

CONNECT_TIMEOUT_S = 5.0
# flower-supernode 1.25.0 logs this after its registration: start_client_internal.py:242.
REGISTERED = "SuperNode ID: "
_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, not listened on


def superlink_answers(settings: Settings, ca: Path, sockets: Path) -> bool:
    """Whether both APIs accept connections, with TLS if it is enabled."""
    return _control_answers(settings, ca, sockets) and _fleet_answers(settings, ca)


def supernode_is_registered(systemd: Systemd, unit: str) -> bool:
    """Whether the SuperLink has registered the SuperNode since the unit was last started."""
    return REGISTERED in systemd.log_since_start(unit)


def _control_answers(settings: Settings, ca: Path, sockets: Path) -> bool:
    # Imported here: a machine with another Flower can still be examined.
    from oneflower.flower.control import ControlClient  # noqa: PLC0415

    host, port = _local(settings.control_api_address)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if settings.flower_workarounds:  # it has its socket, wherever else it listens
        address = socket_of(sockets, address)
    try:
        root = ca.read_bytes() if settings.tls_enabled else None
        with ControlClient(address, root) as control:
            control.nodes()
    except (OSError, ClusterError):
        return False
    return True


def _fleet_answers(settings: Settings, ca: Path) -> bool:
    host, port = _local(settings.fleet_api_address)
    try:
        with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S) as connection:
            if settings.tls_enabled:
                context = ssl.create_default_context(cafile=str(ca))
                context.wrap_socket(connection, server_hostname=host).close()
    except (OSError, ssl.SSLError):
        return False
    return True


def _local(address: str) -> tuple[str, int]:
    host, port = split_address(address)
    return _LOCAL.get(host, host), port
