"""Ports on this machine: free ones, and whether one that the operator asked for is free."""

import socket
from contextlib import ExitStack

from oneflower.errors import ClusterError

LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Return different free loopback ports; held open together, so that no two are the same."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def check_free(port: int, variable: str) -> None:
    """Refuse a port that is in use.

    Raises
    ------
    ClusterError
        Names the port and the variable that asked for it.
    """
    with socket.socket() as probe:
        # A port that only waits for the last packets of closed connections can be taken again.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise ClusterError(
                f"{variable}: port {port} on {LOOPBACK} cannot be used: {(error.strerror or '').lower()}. "
                f"End the program that listens there, give another port, or leave {variable} unset: "
                "then a free port is taken."
            ) from error
