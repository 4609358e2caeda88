"""Unix sockets in place of loopback ports: only the user of a cluster reaches its Control and AppIo APIs.

A process still names an API by ``host:port``; the port gives the socket its name. The folder belongs to the
user with mode 0700, so the kernel decides who may connect, and no other user can listen in its place while a
SuperLink restarts.
"""

import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from oneflower.errors import ClusterError, StateError
from oneflower.flower.programs import WARM_EXECUTOR, value_of
from oneflower.settings.formats import is_loopback

SOCKETS: Final = "ONEFLOWER_SOCKETS"
"""Names the folder; every process of a cluster on this machine has the same."""
UNIX: Final = "unix:"
SUFFIX: Final = ".sock"
LONGEST_PATH: Final = 107
"""Bytes in the path of a Unix socket, Linux."""
# The flag with which a program is given the API that it calls.
CLIENT_FLAGS: Final = {
    "superexec": "--appio-api-address",
    "serverapp": "--serverappio-api-address",
    "clientapp": "--clientappio-api-address",
    WARM_EXECUTOR: "--clientappio-api-address",
}
_WILDCARDS: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, not listened on


def folder_of(environ: Mapping[str, str]) -> Path:
    """Return the folder of the sockets: the one that is named, else one in Flower's own folder."""
    named = environ.get(SOCKETS)
    if named:
        return Path(named)
    home = environ.get("FLWR_HOME")
    data = environ.get("XDG_DATA_HOME")
    flwr = Path(home) if home else Path(data or environ.get("HOME", "/")) / ".flwr"
    return flwr.absolute() / "sockets"


def socket_of(folder: Path, address: str) -> str:
    """Return what gRPC calls the socket of an API; an address that is a socket already stays."""
    return address if address.startswith(UNIX) else f"{UNIX}{folder / (port_of(address) + SUFFIX)}"


def port_of(address: str) -> str:
    """Return the port in ``host:port``, or the one that a socket is named by."""
    return Path(address).name.removesuffix(SUFFIX) if address.startswith(UNIX) else address.rpartition(":")[2]


def is_private(address: str) -> bool:
    """Whether an API at this address is reached through its socket: nothing beyond this machine has it."""
    host = address.rpartition(":")[0].strip("[]")
    return address.startswith(UNIX) or is_loopback(host) or host in _WILDCARDS


def control_of(address: str, environ: Mapping[str, str], *, private: bool) -> str:
    """Return where a process of this machine reaches a Control API that listens on an address.

    Parameters
    ----------
    private : bool
        Whether the SuperLink has its workarounds, and with them its socket.
    """
    if private and is_private(address):
        return socket_of(folder_of(environ), address)
    host, _, port = address.rpartition(":")
    return f"127.0.0.1:{port}" if host.strip("[]") in _WILDCARDS else address


def with_socket(program: str, arguments: list[str], folder: Path) -> list[str]:
    """Replace the address of the API that a program calls by that of its socket."""
    flag = CLIENT_FLAGS.get(program, "")
    address = value_of(flag, arguments) if flag else None
    return arguments if address is None else [*arguments, flag, socket_of(folder, address)]


def prepare(folder: Path) -> None:
    """Create the folder for this user alone, and test that a socket can be made in it.

    Raises
    ------
    ClusterError
        It belongs to another user, its path is too long, or its file system has no sockets.
    StateError
        It cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.lstat()
    except OSError as error:
        raise StateError(
            f"cannot create the folder of the sockets {folder}: {error.strerror}; expected a folder that "
            f"this user can create; name another one with {SOCKETS}"
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise ClusterError(
            f"{folder} is not a folder of user {os.geteuid()}: expected one for the sockets of the cluster, "
            f"that no other user can write; remove it, or name another one with {SOCKETS}"
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)
    problem = socket_problem(folder)
    if problem:
        raise ClusterError(
            f"no Unix socket can be made in {folder}: {problem}; name another folder with {SOCKETS}, or set "
            "FL_FLOWER_WORKAROUNDS=NO, with which every user of this machine can command the cluster"
        )


def socket_problem(folder: Path) -> str:
    """Return why no socket of a cluster can be made in a folder; empty if one can."""
    longest = len(os.fsencode(folder / f"65535{SUFFIX}"))
    if longest > LONGEST_PATH:
        return f"its path is too long ({longest} bytes with a socket, {LONGEST_PATH} is the limit)"
    trial = folder / f".{os.getpid()}"
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(trial))
        trial.unlink()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def is_taken(address: str) -> bool:
    """Whether a process listens at a socket; what a process that was killed has left does not count."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(address.removeprefix(UNIX))
        except OSError:
            return False
    return True
