"""`oneflower capacity`: what a federation of some size takes of one SuperLink, before anybody builds it."""

import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Final

import typer

from oneflower.capacity import (
    Federation,
    Load,
    RoundCost,
    checkpoints_bytes,
    database_bytes,
    is_extrapolated,
    open_files,
    replies_bytes,
    round_cost,
    serverapp_bytes,
    superlink_memory_mb,
    supernode_bytes,
    through_sites,
    worth_streaming,
)
from oneflower.capacity.needs import LARGE_MODEL
from oneflower.capacity.rounds import MOST_MEASURED, MOST_MEASURED_BYTES, MOST_NODES
from oneflower.cli.tables import print_table
from oneflower.errors import SettingsError
from oneflower.opennebula.templates.vm import DISK_MIB
from oneflower.settings import BY_NAME
from oneflower.words import counted

MB: Final = 1_000_000
MBIT_S: Final = 125_000
"""Bytes a second."""
MOST, LEAST_SIZE = 1_000_000, 0.0001
"""Of nodes, arrays, megabytes and megabits a second: beyond them a typing error is likelier than a plan."""
SMALL_DISK: Final = 8 << 30
DEFAULT_TIMEOUT_S: Final = int(BY_NAME["FL_ROUND_TIMEOUT"].default)


def capacity(  # noqa: PLR0913 - what a federation is made of
    *,
    nodes: Annotated[int, typer.Option(help="SuperNodes that are connected.")],
    model_mb: Annotated[float, typer.Option("--model-mb", help="Megabytes of the model's arrays.")],
    arrays: Annotated[int, typer.Option(help="How many arrays the model has, of the same size.")] = 10,
    clients_per_round: Annotated[
        int, typer.Option(help="FL_CLIENTS_PER_ROUND: how many of them train in a round; 0: all.")
    ] = 0,
    evaluate_clients_per_round: Annotated[
        int, typer.Option(help="FL_EVALUATE_CLIENTS_PER_ROUND: how many evaluate its model; 0: all.")
    ] = 0,
    mean: Annotated[
        bool, typer.Option(help="A rule that sums updates as they come (FedAvg, FedAdam); not: Krum, Robust.")
    ] = True,
    network_mbit: Annotated[float, typer.Option(help="The SuperLink's network, megabits a second.")] = 1000.0,
    sites: Annotated[
        int,
        typer.Option(
            help="Also show the round if so many sites had SuperLinks, which oneflower has not yet; 0: not."
        ),
    ] = 0,
) -> None:
    """Show the seconds, memory, disk and network that a round takes, by formulas fitted to measurements.

    They are of two processors of a virtual machine, for clients that need no time. Notes below the table say
    what was not measured, and what must be set. docs/scale.md has what was measured beside them. A number
    that cannot be ends with exit code 2.
    """
    for option, value, least, most in (
        ("--nodes", nodes, 1, MOST),
        ("--arrays", arrays, 1, MOST),
        ("--clients-per-round", clients_per_round, 0, nodes),
        ("--evaluate-clients-per-round", evaluate_clients_per_round, 0, nodes),
        ("--sites", sites, 0, nodes),
    ):
        if not least <= value <= most:
            of_nodes = ", the --nodes" if most == nodes else ""
            raise SettingsError(f"{option} {value}: expected a number from {least} to {most}{of_nodes}")
    for option, size in (("--model-mb", model_mb), ("--network-mbit", network_mbit)):
        if not LEAST_SIZE <= size <= MOST:
            raise SettingsError(f"{option} {size}: expected a number from {LEAST_SIZE:g} to {MOST}")
    federation = Federation(
        nodes=nodes,
        model_bytes=model_mb * MB,
        arrays=arrays,
        training=clients_per_round,
        evaluating=evaluate_clients_per_round,
        network_bytes_s=network_mbit * MBIT_S,
    )
    load = Load(
        model_bytes=round(federation.model_bytes),
        clients=federation.trained,
        largest_array_bytes=round(federation.model_bytes / federation.arrays),
        streaming=mean and worth_streaming(federation.model_bytes, federation.trained),
    )
    cost = round_cost(federation)
    print_table(("what", "value"), _rows(federation, load, cost, sites=sites))
    for note in _notes(federation, load, cost):
        sys.stdout.write(f"note: {note}\n")


def _rows(federation: Federation, load: Load, cost: RoundCost, *, sites: int) -> list[tuple[str, str]]:
    seconds = f"{cost.seconds:.1f}"
    if math.isinf(cost.seconds):
        seconds = "never ends: heartbeats alone take the SuperLink's processor"
    if is_extrapolated(federation):
        seconds += " (extrapolated)"
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
        ("disk of a round's replies", _size(replies_bytes(load))),
        ("disk of a checkpoint", _size(checkpoints_bytes(load, keep=1, there=0, to_come=1))),
        ("open files of the SuperLink", f"{open_files(federation)}"),
    ]
    if sites:
        through = through_sites(federation, sites)
        rows.append(
            (
                f"seconds a round through {counted(sites, 'site')}",
                f"{through.seconds:.1f} (by the same formulas)",
            )
        )
    return rows


def _notes(federation: Federation, load: Load, cost: RoundCost) -> Iterator[str]:
    """Yield what was not measured, and what must be set for these numbers to hold."""
    if is_extrapolated(federation):
        yield (
            f"extrapolated: measured were up to {MOST_MEASURED} nodes with a model of 0.4 MB, and up to "
            f"{MOST_MEASURED_BYTES // MB} MB to all nodes of a round together"
        )
    if federation.nodes > MOST_NODES:
        yield f"a SuperLink admits {MOST_NODES} nodes at most"
    if load.streaming and load.model_bytes < LARGE_MODEL and not federation.training:
        yield (
            f"the ServerApp's memory is that of updates that are summed as they come: set "
            f"FL_MIN_AVAILABLE_CLIENTS={federation.nodes}, or FL_STREAMING_MEAN=YES; else it keeps them, "
            f"{_size(serverapp_bytes(replace(load, streaming=False)))}"
        )
    if federation.trained < federation.nodes and not federation.evaluating:
        yield (
            f"{federation.trained} nodes train in a round, and all {federation.nodes} evaluate its model: "
            "set FL_EVALUATE_CLIENTS_PER_ROUND, and give --evaluate-clients-per-round, to draw those, too"
        )
    if DEFAULT_TIMEOUT_S < cost.phase_s < math.inf:
        yield (
            f"a phase takes {cost.phase_s:.0f} s: set FL_ROUND_TIMEOUT to more than that (it is "
            f"{DEFAULT_TIMEOUT_S} by default)"
        )
    disk = database_bytes(load) + replies_bytes(load)
    if disk > SMALL_DISK:
        yield (
            f"the SuperLink's disk needs {_size(disk)} beside the system and what FL_CHECKPOINT_KEEP keeps: "
            f"the VM template has {DISK_MIB // 1024} GiB"
        )


def _size(num_bytes: float) -> str:
    for unit, scale in (("TB", 1e12), ("GB", 1e9)):
        if num_bytes >= scale:
            return f"{num_bytes / scale:.1f} {unit}"
    return f"{num_bytes / 1e6:.0f} MB"
