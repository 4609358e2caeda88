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
CPU_S_A_STEP: Final = 0.0017
CPU_S_A_STEP_AND_NODE: Final = 0.9e-6
"""A step takes more of the processor the more nodes are at work: each wakes a thread of its own."""
CPU_S_A_MB: Final = 0.0155
"""A step that moves bytes takes so much longer for each megabyte of them: hashing, writing, reading."""
IDLE_A_NODE: Final = 7.9e-5
"""The share of a processor that the heartbeats and questions of a node take."""
WAITS: Final = 1.2
"""Seconds of a round for each second that the SuperLink computes: it waits at times."""
SERVERAPP_S_A_NODE: Final = 0.014
"""The ServerApp's part for each node and phase, on another processor: its message, its reply, the journal."""
SERVERAPP_S_A_MB: Final = 0.02
"""Its part for each megabyte of replies: reading, checking, adding up."""
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
    """A federation, and how many of its nodes take part in a round.

    Parameters
    ----------
    nodes
        The SuperNodes that are connected.
    training, evaluating
        How many of them train in a round, and how many evaluate its model (FL_CLIENTS_PER_ROUND and
        FL_EVALUATE_CLIENTS_PER_ROUND); 0: all.
    model_bytes, arrays
        The model, in arrays of the same size.
    network_bytes_s
        What the SuperLink's network moves each way, in bytes a second.
    """

    nodes: int
    model_bytes: float
    arrays: int = 4
    training: int = 0
    evaluating: int = 0
    network_bytes_s: float = 125e6

    @property
    def trained(self) -> int:
        """How many nodes train in a round."""
        return min(self.training or self.nodes, self.nodes)

    @property
    def evaluated(self) -> int:
        """How many nodes evaluate the model of a round."""
        return min(self.evaluating or self.nodes, self.nodes)

    @property
    def at_work(self) -> int:
        """How many nodes are at work at a time: the two phases follow each other."""
        return max(self.trained, self.evaluated)

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

    The seconds of a phase are the longest of what the SuperLink and the ServerApp compute, side by side, and
    what the network takes each way; infinite where heartbeats alone take all of a processor. `seconds` are
    those of both phases, `phase_s` those of the longer one, which FL_ROUND_TIMEOUT bounds.
    """

    calls: int
    superlink_cpu_s: float
    serverapp_cpu_s: float
    bytes_down: float
    bytes_up: float
    network_s: float
    seconds: float
    phase_s: float

    def then(self, other: "RoundCost") -> "RoundCost":
        """Return what this and another take, one after the other."""
        return RoundCost(
            calls=self.calls + other.calls,
            superlink_cpu_s=self.superlink_cpu_s + other.superlink_cpu_s,
            serverapp_cpu_s=self.serverapp_cpu_s + other.serverapp_cpu_s,
            bytes_down=self.bytes_down + other.bytes_down,
            bytes_up=self.bytes_up + other.bytes_up,
            network_s=self.network_s + other.network_s,
            seconds=self.seconds + other.seconds,
            phase_s=max(self.phase_s, other.phase_s),
        )


def is_extrapolated(federation: Federation) -> bool:
    """Return whether more nodes, or more bytes in a round, were asked about than were ever measured."""
    sent = federation.at_work * federation.model_bytes
    return federation.nodes > MOST_MEASURED or sent > MOST_MEASURED_BYTES


def training_steps(federation: Federation) -> int:
    """Return how many steps a node takes to train in a round."""
    down = DOWN_RECORDS + federation.objects
    return FIXED_STEPS + down + UP_RECORDS + 1 + federation.objects


def evaluation_steps(federation: Federation) -> int:
    """Return how many steps a node takes to evaluate in a round."""
    return FIXED_STEPS + DOWN_RECORDS + federation.objects + UP_RECORDS


def training_calls(federation: Federation) -> int:
    """Return how many calls a node makes to train in a round."""
    return evaluation_calls(federation) + _single(UP_RECORDS + 1, federation)


def evaluation_calls(federation: Federation) -> int:
    """Return how many calls a node makes to evaluate in a round."""
    return FIXED_STEPS + _single(DOWN_RECORDS, federation)


def _single(records: int, federation: Federation) -> int:
    """Return how many objects of a message with the model have a call of their own."""
    small = records + federation.objects - federation.large_objects
    return federation.large_objects + max(0, small - WITH_MESSAGE)


def round_cost(federation: Federation) -> RoundCost:
    """Return what a round takes: training, then evaluation."""
    nodes, size = federation.trained, federation.model_bytes
    calls, steps = training_calls(federation), training_steps(federation)
    training = _phase(federation, nodes, calls=calls, steps=steps, bytes_up=nodes * size)
    calls, steps = evaluation_calls(federation), evaluation_steps(federation)
    return training.then(_phase(federation, federation.evaluated, calls=calls, steps=steps, bytes_up=0.0))


def _phase(federation: Federation, nodes: int, *, calls: int, steps: int, bytes_up: float) -> RoundCost:
    """Return what a phase takes in which so many nodes are sent the model, with calls and steps of each."""
    bytes_down = nodes * federation.model_bytes
    a_step = CPU_S_A_STEP + nodes * CPU_S_A_STEP_AND_NODE
    superlink = nodes * steps * a_step + (bytes_down + bytes_up) / MB * CPU_S_A_MB
    serverapp = nodes * SERVERAPP_S_A_NODE + bytes_up / MB * SERVERAPP_S_A_MB
    network = max(bytes_down, bytes_up) / federation.network_bytes_s
    idle = IDLE_A_NODE * federation.nodes
    computing = WAITS * superlink / (1 - idle) if idle < 1 else math.inf
    seconds = max(computing, serverapp, network)
    return RoundCost(
        calls=nodes * calls,
        superlink_cpu_s=superlink,
        serverapp_cpu_s=serverapp,
        bytes_down=bytes_down,
        bytes_up=bytes_up,
        network_s=network,
        seconds=seconds,
        phase_s=seconds,
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
    nodes, training, evaluating = (
        math.ceil(each / sites) for each in (federation.nodes, federation.trained, federation.evaluated)
    )
    here = round_cost(replace(federation, nodes=nodes, training=training, evaluating=evaluating))
    above = round_cost(replace(federation, nodes=sites, training=0, evaluating=0))
    both = here.then(above)
    return replace(
        both,
        calls=sites * here.calls + above.calls,
        bytes_down=above.bytes_down,
        bytes_up=above.bytes_up,
        phase_s=here.phase_s + above.phase_s,
    )
