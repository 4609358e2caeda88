"""What the training needs of memory and disk on the server, said before its first round."""

import math
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from logging import INFO, WARNING
from pathlib import Path
from typing import Final

import numpy as np

from oneflower.aggregation import Arrays
from oneflower.capacity import (
    SPARE_REPLIES,
    Load,
    checkpoints_bytes,
    database_bytes,
    disk_free,
    growth_bytes,
    memory_free,
    own_memory,
    replies_bytes,
    serverapp_bytes,
    supernode_bytes,
)
from oneflower.checkpoints import CheckpointReader
from oneflower.flower.api import log
from oneflower.flower.database import DATABASE_VARIABLE
from oneflower.flower.failures import named_path
from oneflower.journal.events import ResourcesShort
from oneflower.settings import APP_STRATEGY, TrainingConfig
from oneflower.training.phases import Phases
from oneflower.words import counted

CLIENTS_VARIABLE: Final = "ONEFLOWER_CLIENTS"
"""How many clients there are, where that is known: `up` and `simulate` set it, and run them here."""
GB: Final = 1e9
MB: Final = 1e6


def known_clients() -> int | None:
    """Return how many clients there are, where they run on this machine."""
    given = os.environ.get(CLIENTS_VARIABLE, "")
    return int(given) if given.isdecimal() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What is needed in one place, item by item in bytes, and what is free; None where that is not known."""

    what: str
    items: Mapping[str, int]
    free: int | None

    @property
    def total(self) -> int:
        """All items together."""
        return sum(self.items.values())

    @property
    def is_short(self) -> bool:
        """Whether more is needed than is free."""
        return self.free is not None and self.total > self.free

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {_size(size)}" for name, size in self.items.items() if size)
        free = "unknown" if self.free is None else _size(self.free)
        return f"{_size(self.total)} of {self.what} ({parts}); free: {free}"


def load_of(config: TrainingConfig, model: Arrays, *, clients: int, streams: bool) -> Load:
    """Return what a training asks of its machines. What an app's own strategy keeps is not known."""
    sizes = [array.nbytes for array in model.values()]
    own = config.strategy == APP_STRATEGY
    return Load(
        model_bytes=sum(sizes),
        clients=clients,
        largest_array_bytes=max(sizes, default=0),
        streaming=streams,
        moments=0 if own else len(config.rule.init({"any": np.zeros(1, np.float32)})),
        root=config.rule.needs_root and not own,
    )


def clients_of_a_round(config: TrainingConfig, connected: int) -> tuple[int, int]:
    """Return how many clients train in a round, with spare ones, and how many hold a model at a time."""
    trained = evaluating = connected
    if config.clients_per_round:
        trained = min(connected, math.ceil(config.clients_per_round * (1 + config.oversampling)))
    if config.evaluate_clients_per_round:
        evaluating = min(connected, config.evaluate_clients_per_round)
    return trained, max(trained, evaluating if config.min_evaluate_clients else 0)


def memory_bill(load: Load, *, at_work: int, nodes_here: int, cluster: bool) -> Bill:
    """Return the memory of this machine, where the SuperLink runs, too, and under `up` the SuperNodes.

    `at_work` clients hold a model at a time, and `nodes_here` of them are on this machine.
    What the ServerApp has taken already counts as free. Of the others only what they take beyond what they
    have when they start is needed: they run already.
    """
    free = memory_free()
    items = {"ServerApp": serverapp_bytes(load)}
    if cluster:
        items |= growth_bytes(replace(load, clients=at_work), nodes=nodes_here)
    return Bill(what="memory", items=items, free=None if free is None else free + own_memory())


def disk_bills(load: Load, config: TrainingConfig, *, done: int, cluster: bool) -> list[Bill]:
    """Return the disk that is needed, one bill for each file system."""
    kept = config.checkpoint_enabled
    folder = Path(config.checkpoint_path if kept else tempfile.gettempdir())
    items: list[tuple[Path, str, int]] = []
    if kept:
        there = len(CheckpointReader(folder).rounds())
        to_come = len(rounds_to_save(done, config.num_rounds, config.checkpoint_interval))
        size = checkpoints_bytes(load, keep=config.checkpoint_keep, there=there, to_come=to_come)
        items.append((folder, "checkpoints", size))
    if cluster:
        if load.streaming:
            items.append((folder, "replies of a round", replies_bytes(load) + SPARE_REPLIES))
        database = named_path(DATABASE_VARIABLE)
        if database is not None:
            items.append((database.parent, "SuperLink's database", database_bytes(load)))
    return _by_disk(items)


def rounds_to_save(done: int, rounds: int, interval: int) -> list[int]:
    """Return the rounds after `done` whose checkpoint is due: the last one always is."""
    return [number for number in range(done + 1, rounds + 1) if number % interval == 0 or number == rounds]


def _by_disk(items: Iterable[tuple[Path, str, int]]) -> list[Bill]:
    found: dict[int, tuple[Path, int, dict[str, int]]] = {}
    for folder, name, size in items:
        disk = disk_free(folder)
        if disk is not None:
            found.setdefault(disk[0], (folder, disk[1], {}))[2][name] = size
    return [
        Bill(what=f"disk in {folder}", items=needed, free=free) for folder, free, needed in found.values()
    ]


def tell_resources(
    config: TrainingConfig,
    model: Arrays,
    phases: Phases,
    *,
    done: int,
    streams: bool,
) -> None:
    """Log what the training needs here, before its first round; where that is not there, warn and journal it.

    The training goes on: a formula is no reason to refuse one.
    """
    if done >= config.num_rounds:
        return
    here, cluster = known_clients(), phases.grid.is_of_cluster
    connected = here or max(config.quorum, config.min_available_clients, len(phases.grid.online()))
    clients, at_work = clients_of_a_round(config, connected)
    load = load_of(config, model, clients=clients, streams=streams)
    memory = memory_bill(load, at_work=at_work, nodes_here=at_work if here else 0, cluster=cluster)
    disks = disk_bills(load, config, done=done, cluster=cluster)
    short = [bill for bill in (memory, *disks) if bill.is_short]
    about = f"model {_size(load.model_bytes)}, {counted(clients, 'client')}"
    log(INFO, "this training needs about (%s): %s", about, "; ".join(map(str, (memory, *disks))))
    if cluster:
        each = _size(supernode_bytes(load))
        log(INFO, "each SuperNode needs about %s of memory, and what its app trains in", each)
    if not short:
        return
    reason = f"{about}: about {'; '.join(map(str, short))}. {_advice(short, memory, config)}"
    log(WARNING, "this training needs more than there is: %s", reason)
    disk = max(disks, key=lambda bill: bill.total - (bill.free or 0), default=None)
    phases.record(
        ResourcesShort(
            round=done,
            rounds=config.num_rounds,
            memory_bytes=memory.total,
            memory_free_bytes=memory.free,
            disk_bytes=0 if disk is None else disk.total,
            disk_free_bytes=None if disk is None else disk.free,
            reason=reason,
        )
    )


def _advice(short: Iterable[Bill], memory: Bill, config: TrainingConfig) -> str:
    """Return what an operator can do."""
    advice = []
    for bill in short:
        if bill is not memory:
            advice.append("Enlarge the disk, or lower FL_CHECKPOINT_KEEP")
        elif config.streaming_mean == "NO" and config.rule.streams and config.strategy != APP_STRATEGY:
            advice.append("Set FL_STREAMING_MEAN=YES, or give the machine more memory")
        else:
            advice.append("Give the machine more memory, or let fewer clients take part")
    return ". ".join(dict.fromkeys(advice))


def _size(size_bytes: int) -> str:
    return f"{size_bytes / GB:.1f} GB" if size_bytes >= GB else f"{size_bytes / MB:.0f} MB"
