"""Ports on this machine: find free ones, and check a port that the operator chose."""

import socket
from contextlib import ExitStack

from oneflower.errors import ClusterError

LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Return distinct free loopback ports; all are open at the same time, so no two are equal."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def check_free(port: int, variable: str) -> None:
    """Check that a port is free.

    Raises
    ------
    ClusterError
        It is in use; the text names the port and its variable.
    """
    with socket.socket() as probe:
        # A port whose closed connections are in TIME_WAIT can be used.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise ClusterError(
                f"{variable}: port {port} on {LOOPBACK} cannot be used: {(error.strerror or '').lower()}. "
                f"End the program that listens there, set another port, or leave {variable} unset "
                "to use a free port."
            ) from error
