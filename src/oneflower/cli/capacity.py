"""`oneflower capacity`: what a federation of some size takes of one SuperLink, before anybody builds it."""

import math
from typing import Annotated

import typer

from oneflower.capacity import (
    Federation,
    Load,
    checkpoints_bytes,
    database_bytes,
    open_files,
    round_cost,
    serverapp_bytes,
    superlink_memory_mb,
    supernode_bytes,
    through_sites,
    worth_streaming,
)
from oneflower.capacity.rounds import MOST_MEASURED
from oneflower.cli.tables import print_table
from oneflower.errors import SettingsError

MB = 1_000_000
MBIT_S = 125_000
"""Bytes a second."""


def capacity(  # noqa: PLR0913 - what a federation is made of
    *,
    nodes: Annotated[int, typer.Option(help="SuperNodes that are connected.")],
    model_mb: Annotated[float, typer.Option("--model-mb", help="Megabytes of the model's arrays.")],
    arrays: Annotated[int, typer.Option(help="How many arrays the model has, of the same size.")] = 10,
    clients_per_round: Annotated[
        int, typer.Option(help="FL_CLIENTS_PER_ROUND: how many of them train in a round; 0: all.")
    ] = 0,
    mean: Annotated[
        bool, typer.Option(help="A rule that sums updates as they come (FedAvg, FedAdam); not: Krum, Robust.")
    ] = True,
    network_mbit: Annotated[float, typer.Option(help="The SuperLink's network, megabits a second.")] = 1000.0,
    sites: Annotated[
        int, typer.Option(help="Also show the round if so many sites had a SuperLink of their own; 0: not.")
    ] = 0,
) -> None:
    """Show the seconds, memory, disk and network that a round takes, by formulas fitted to measurements.

    They are of two processors of a virtual machine, for clients that need no time. docs/scale.md has what was
    measured beside them.
    """
    for option, value, least in (
        ("--nodes", nodes, 1),
        ("--arrays", arrays, 1),
        ("--clients-per-round", clients_per_round, 0),
        ("--sites", sites, 0),
    ):
        if value < least:
            raise SettingsError(f"{option} {value}: expected {least} or more")
    for option, size in (("--model-mb", model_mb), ("--network-mbit", network_mbit)):
        if not 0 < size < float("inf"):
            raise SettingsError(f"{option} {size}: expected more than 0")
    federation = Federation(
        nodes=nodes,
        model_bytes=model_mb * MB,
        arrays=arrays,
        sampled=clients_per_round,
        network_bytes_s=network_mbit * MBIT_S,
    )
    print_table(("what", "value"), _rows(federation, mean=mean, sites=sites))


def _rows(federation: Federation, *, mean: bool, sites: int) -> list[tuple[str, str]]:
    cost = round_cost(federation)
    load = Load(
        model_bytes=round(federation.model_bytes),
        clients=federation.at_work,
        largest_array_bytes=round(federation.model_bytes / federation.arrays),
        streaming=mean and worth_streaming(federation.model_bytes, federation.at_work),
    )
    seconds = f"{cost.seconds:.1f}"
    if math.isinf(cost.seconds):
        seconds = "never ends: heartbeats alone take the SuperLink's processor"
    if federation.nodes > MOST_MEASURED:
        seconds += f" (extrapolated: up to {MOST_MEASURED} nodes were measured)"
    parts = f"SuperLink {cost.superlink_cpu_s:.1f}, ServerApp {cost.serverapp_cpu_s:.1f}"
    rows = [
        ("seconds a round", seconds),
        ("seconds of a processor", parts),
        ("seconds of the network", f"{cost.network_s:.1f}"),
        ("calls a round", f"{cost.calls}"),
        ("network a round", f"{_size(cost.bytes_down)} to the nodes, {_size(cost.bytes_up)} back"),
        ("memory of the SuperLink", _size(superlink_memory_mb(federation) * MB)),
        ("memory of the ServerApp", _size(serverapp_bytes(load))),
        ("memory of a SuperNode", f"{_size(supernode_bytes(load))}, and what its app trains in"),
        ("disk of the database", _size(database_bytes(load))),
        ("disk of a checkpoint", _size(checkpoints_bytes(load, keep=1, there=0, to_come=1))),
        ("open files of the SuperLink", f"{open_files(federation)}"),
    ]
    if sites:
        through = through_sites(federation, sites)
        rows.append(
            (f"seconds a round through {sites} sites", f"{through.seconds:.1f} (by the same formulas)")
        )
    return rows


def _size(num_bytes: float) -> str:
    for unit, scale in (("TB", 1e12), ("GB", 1e9)):
        if num_bytes >= scale:
            return f"{num_bytes / scale:.1f} {unit}"
    return f"{num_bytes / 1e6:.0f} MB"
