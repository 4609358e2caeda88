"""The argument lists and the environment of Flower's processes."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from oneflower.flower import arguments
from oneflower.flower.guard import GUARDED
from oneflower.flower.programs import LAUNCHER
from oneflower.local_cluster.ports import LOOPBACK
from oneflower.local_cluster.processes import MARKER
from oneflower.local_cluster.tls import Certificates
from oneflower.proxies import direct_loopback
from oneflower.settings import Consumer, Settings, as_text, read_by
from oneflower.settings.formats import node_pairs

# -P: do not import from the state folder, which is the working directory of the processes.
LAUNCH = (sys.executable, "-P", "-m", LAUNCHER)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """The addresses of one boot's processes, each as ``host:port``."""

    fleet: str
    control: str
    serverappio: str
    clientappio: tuple[str, ...]


def superlink(
    addresses: Addresses, settings: Settings, *, database: Path, storage: Path, tls: Certificates | None
) -> list[str]:
    """Return the SuperLink's command; its AppIo API stays on loopback because it has no TLS."""
    places = arguments.SuperLinkPlaces(
        fleet=addresses.fleet,
        control=addresses.control,
        serverappio=addresses.serverappio,
        database=str(database),
        storage=str(storage),
    )
    return [*LAUNCH, *arguments.superlink(settings, places, tls)]


def supernode(  # noqa: PLR0913 - the last two by name only
    index: int,
    nodes: int,
    addresses: Addresses,
    settings: Settings,
    *,
    tls: Certificates | None,
    key: Path | None = None,
) -> list[str]:
    """Return the command of SuperNode number ``index`` (from 0) of ``nodes``; ``key`` is its private key."""
    options = arguments.supernode(
        settings,
        superlink_address=addresses.fleet,
        clientappio=addresses.clientappio[index],
        node_config=node_config(index, nodes, settings.node_config),
        ca=str(tls.ca) if tls else None,
        key=str(key) if key else None,
    )
    return [*LAUNCH, *options]


def superexec(plugin: str, appio_address: str) -> list[str]:
    """Return the command of a separate executor (FL_ISOLATION=process): serverapp or clientapp."""
    return [*LAUNCH, *arguments.superexec(plugin, appio_address)]


def node_config(index: int, nodes: int, extra: str) -> str:
    """Return a SuperNode's node config: its partition, its name, and the operator's own pairs."""
    computed = {"partition-id": index, "num-partitions": nodes}
    name = {arguments.NAME: f"'supernode-{index}'"}
    return arguments.node_config({**computed, **name, **node_pairs(extra), **computed})


def environment(
    base: Mapping[str, str], settings: Settings, *, nodes: int, token: str, flwr_home: Path
) -> dict[str, str]:
    """Return the environment of every process of the cluster.

    Only variables that a SuperLink or a SuperNode reads are passed on: a context may contain secrets.
    """
    kept = {name: value for name, value in base.items() if not name.startswith(("FL_", "ONEAPP_"))}
    return {
        **dict.fromkeys(THREAD_VARIABLES, str(threads(nodes, os.cpu_count() or 1))),
        **kept,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), base.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        **direct_loopback(base),
        MARKER: token,
        GUARDED: "YES",
        "FLWR_HOME": str(flwr_home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_LOG_LEVEL": settings.log_level,
        **{
            row.name: as_text(settings.value_of(row))
            for row in read_by(Consumer.SUPERLINK | Consumer.SUPERNODE)
            if not row.secret  # nothing here listens beyond loopback
        },
    }


def threads(nodes: int, cores: int) -> int:
    """Return the number of threads per process: all nodes train at the same time on these cores."""
    return max(1, cores // max(1, nodes))


def hosts() -> Sequence[str]:
    """Return the names that the SuperLink's certificate must cover on this machine."""
    return (LOOPBACK, "localhost")
