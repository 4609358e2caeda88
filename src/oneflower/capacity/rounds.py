"""What a round costs one SuperLink, by the steps that it takes: a model that is fitted to measurements.

`benchmarks/scale.py` measures it with light nodes, and docs/scale.md has the table. A step is what Flower
1.25.0 makes a call of: a question for work, each object of a message, its receipt, a reply, each object of
that. An array is an object, and so is each piece of 5 MiB of it. Small objects travel with their message, so
that there are fewer calls than steps; the SuperLink's work is nearly the same.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

from oneflower.capacity.needs import MB, SUPERLINK_BASE, Load, superlink_bytes

PIECE_BYTES: Final = 5 << 20
PACKED: Final = 16
"""So many small arrays and more travel as one."""
SMALL_BYTES: Final = 1_000_000
DOWN_RECORDS: Final = 5
"""The message, its content, and the records of arrays, of the app's settings and of oneflower's."""
UP_RECORDS: Final = 3
"""The reply, its content and the record of its metrics; a trained model has one record more."""
FIXED_STEPS: Final = 3
"""The question for work, the receipt of the message, the reply."""
WITH_MESSAGE: Final = 64
WITH_MESSAGE_BYTES: Final = 16_384
"""So many objects, none of them larger, travel with a message."""
CPU_S_A_STEP: Final = 0.00185
CPU_S_A_STEP_AND_NODE: Final = 0.8e-6
"""A step takes more of the processor the more nodes are at work: each wakes a thread of its own."""
CPU_S_A_MB: Final = 0.008
"""A step that moves bytes takes so much longer for each megabyte of them: hashing, writing, reading."""
IDLE_A_NODE: Final = 7.9e-5
"""The share of a processor that the heartbeats and questions of a node take."""
WAITS: Final = 1.1
"""Seconds of a round for each second that the SuperLink computes: it waits at times."""
SERVERAPP_S_A_NODE: Final = 0.014
"""The ServerApp's part for each node and phase, on another processor: its message, its reply, the journal."""
SUPERLINK_MB: Final = 115.0
MB_A_NODE: Final = 0.3
"""A connection, its threads and its calls."""
FILES: Final = 35
MOST_MEASURED: Final = 1000
"""Nodes; above that the numbers are extrapolated."""
MOST_MEASURED_BYTES: Final = 1_000_000_000
"""Bytes of the model times the nodes of a round; above that, too."""
MOST_NODES: Final = 10_000
"""What a SuperLink admits: docs/limits.md."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Federation:
    """A federation whose nodes all take part in each round.

    Parameters
    ----------
    nodes
        The SuperNodes that are connected.
    sampled
        How many of them train in a round (FL_CLIENTS_PER_ROUND); 0: all.
    model_bytes, arrays
        The model, in arrays of the same size.
    network_bytes_s
        What the SuperLink's network moves each way, in bytes a second.
    """

    nodes: int
    model_bytes: float
    arrays: int = 4
    sampled: int = 0
    network_bytes_s: float = 125e6

    @property
    def at_work(self) -> int:
        """How many nodes train in a round."""
        return min(self.sampled or self.nodes, self.nodes)

    @property
    def objects(self) -> int:
        """How many objects the arrays of the model are: themselves, and their pieces."""
        arrays, each = self._travelling
        return arrays * (1 + math.ceil(each / PIECE_BYTES))

    @property
    def large_objects(self) -> int:
        """How many of them are too large to travel with a message."""
        arrays, each = self._travelling
        return arrays * math.ceil(each / PIECE_BYTES) if each > WITH_MESSAGE_BYTES else 0

    @property
    def _travelling(self) -> tuple[int, float]:
        """The number of arrays that are sent, and the bytes of each: many small ones are packed."""
        arrays, each = self.arrays, self.model_bytes / self.arrays
        packed = arrays >= PACKED and each < SMALL_BYTES
        return (1, self.model_bytes) if packed else (arrays, each)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundCost:
    """What one round of training and evaluation takes, beside what clients need for their own work.

    `seconds` is the longest of what the SuperLink and the ServerApp compute, side by side, and what the
    network takes each way; infinite where heartbeats alone take all of a processor.
    """

    calls: int
    superlink_cpu_s: float
    serverapp_cpu_s: float
    bytes_down: float
    bytes_up: float
    network_s: float
    seconds: float


def is_extrapolated(federation: Federation) -> bool:
    """Return whether more nodes, or more bytes in a round, were asked about than were ever measured."""
    sent = federation.at_work * federation.model_bytes
    return federation.nodes > MOST_MEASURED or sent > MOST_MEASURED_BYTES


def steps_a_node(federation: Federation) -> int:
    """Return how many steps a node takes in a round: it trains and evaluates."""
    down = DOWN_RECORDS + federation.objects
    train = FIXED_STEPS + down + UP_RECORDS + 1 + federation.objects
    evaluate = FIXED_STEPS + down + UP_RECORDS
    return train + evaluate


def calls_a_node(federation: Federation) -> int:
    """Return how many calls a node makes in a round."""

    def single(records: int, objects: int, large: int) -> int:
        return large + max(0, records + objects - large - WITH_MESSAGE)

    objects, large = federation.objects, federation.large_objects
    down, trained = single(DOWN_RECORDS, objects, large), single(UP_RECORDS + 1, objects, large)
    return 2 * (FIXED_STEPS + down) + trained


def round_cost(federation: Federation) -> RoundCost:
    """Return what a round takes."""
    nodes = federation.at_work
    calls = nodes * calls_a_node(federation)
    down, up = 2 * nodes * federation.model_bytes, nodes * federation.model_bytes
    a_step = CPU_S_A_STEP + nodes * CPU_S_A_STEP_AND_NODE
    superlink = nodes * steps_a_node(federation) * a_step + (down + up) / MB * CPU_S_A_MB
    serverapp = 2 * nodes * SERVERAPP_S_A_NODE
    network = max(down, up) / federation.network_bytes_s
    idle = IDLE_A_NODE * federation.nodes
    computing = WAITS * superlink / (1 - idle) if idle < 1 else math.inf
    return RoundCost(
        calls=calls,
        superlink_cpu_s=superlink,
        serverapp_cpu_s=serverapp,
        bytes_down=down,
        bytes_up=up,
        network_s=network,
        seconds=max(computing, serverapp, network),
    )


def superlink_memory_mb(federation: Federation) -> float:
    """Return the megabytes of the SuperLink's process."""
    pieces = superlink_bytes(Load(model_bytes=round(federation.model_bytes), clients=federation.at_work))
    return SUPERLINK_MB + MB_A_NODE * federation.nodes + (pieces - SUPERLINK_BASE) / MB


def open_files(federation: Federation) -> int:
    """Return how many files the SuperLink has open: each node is a connection."""
    return FILES + federation.nodes


def through_sites(federation: Federation, sites: int) -> RoundCost:
    """Return what a round takes where each site has a SuperLink of its own, and sends its mean to one above.

    The sites work side by side; the one above has a node for each of them. Flower has no such node: it would
    be a SuperNode whose app trains the site.
    """
    nodes, at_work = (math.ceil(each / sites) for each in (federation.nodes, federation.at_work))
    here = round_cost(replace(federation, nodes=nodes, sampled=at_work))
    above = round_cost(replace(federation, nodes=sites, sampled=0))
    return RoundCost(
        calls=sites * here.calls + above.calls,
        superlink_cpu_s=here.superlink_cpu_s + above.superlink_cpu_s,
        serverapp_cpu_s=here.serverapp_cpu_s + above.serverapp_cpu_s,
        bytes_down=above.bytes_down,
        bytes_up=above.bytes_up,
        network_s=here.network_s + above.network_s,
        seconds=here.seconds + above.seconds,
    )
