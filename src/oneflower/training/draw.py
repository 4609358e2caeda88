"""Draw the clients of a round: a function of the seed, the round and who is connected.

Flower's node ids are random at each start of a SuperNode, so a draw rests on what the clients say they are.
Each connected client has a slot, the number of its partition. A round puts the slots into a random order and
asks the first clients of it: where one of them is away, only its own place goes to another client.
"""

import hashlib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from logging import INFO
from typing import Final

from oneflower.codes import Task
from oneflower.flower.api import log
from oneflower.flower.who import UNKNOWN, Identity, Roll, order

SAME_DRAW_TRIES: Final = 3
"""A client that has failed in so many attempts of a round is drawn last in the others."""
MOST_LOGGED: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """The clients of a phase, with their slots, in the order of the draw: the first `wanted` count."""

    order: tuple[int, ...]
    slots: tuple[int, ...]
    wanted: int

    def among(self, nodes: Collection[int]) -> "Draw":
        """Return the draw without the clients that a strategy did not ask."""
        left = [each for each in zip(self.order, self.slots, strict=True) if each[0] in nodes]
        order, slots = zip(*left, strict=True) if left else ((), ())
        return replace(self, order=order, slots=slots)

    def settled(self, valid: Collection[int], failed: Collection[int]) -> bool:
        """Return whether no reply that is still missing can count."""
        able = [node for node in self.order if node not in failed][: self.wanted]
        return all(node in valid for node in able)

    def counted(self, valid: Collection[int]) -> frozenset[int]:
        """Return whose valid replies count. The order in which they came decides nothing."""
        return frozenset([node for node in self.order if node in valid][: self.wanted])


@dataclass(slots=True, kw_only=True)
class Sampler:
    """Draws clients.

    Attributes
    ----------
    seed
        FL_SEED.
    roll
        Asks each client once who it is.
    """

    seed: int
    roll: Roll

    def draw(  # noqa: PLR0913 - by name only
        self,
        nodes: Iterable[int],
        server_round: int,
        task: Task,
        *,
        wanted: int,
        spare: float = 0.0,
        partitions: int = 0,
        last: Collection[int] = (),
    ) -> Draw:
        """Draw `wanted` of the connected clients, and a share `spare` of that in addition.

        `partitions` is how many there are, where that is known; those in `last` are drawn after all others.
        """
        identities = self.roll.identities(nodes)
        placed = slots(identities, partitions)
        drawn = draw_order(placed, self.seed, server_round, task, last)[: asked_of(wanted, spare)]
        names = [identities[node].name or str(node) for node in drawn[:MOST_LOGGED]]
        log(
            INFO,
            "clients sampled round=%d phase=%s asked=%d wanted=%d connected=%d clients=%s%s",
            server_round,
            task,
            len(drawn),
            min(wanted, len(drawn)),
            len(placed),
            ",".join(names),
            ",..." if len(drawn) > MOST_LOGGED else "",
        )
        return Draw(order=tuple(drawn), slots=tuple(placed[node] for node in drawn), wanted=wanted)


def asked_of(wanted: int, spare: float) -> int:
    """Return how many clients are asked so that `wanted` replies count: a share `spare` more, rounded up."""
    return wanted + math.ceil(round(wanted * spare, 6))


def slots(identities: Mapping[int, Identity], partitions: int = 0) -> dict[int, int]:
    """Return a number for each node, its own: its partition where it says one that no other node has.

    A client can claim any partition. Only numbers below twice the nodes, or below `partitions`, are taken, so
    that there are few to choose from. The other nodes get the free numbers, in the order of their names.
    """
    bound = max(2 * len(identities), partitions)
    placed: dict[int, int] = {}
    taken: set[int] = set()
    listed = order(identities, identities)
    for node in listed:
        partition = identities.get(node, UNKNOWN).partition
        if partition is not None and partition < bound and partition not in taken:
            placed[node] = partition
            taken.add(partition)
    free: Iterator[int] = (number for number in count() if number not in taken)
    return placed | {node: next(free) for node in listed if node not in placed}


def draw_order(
    placed: Mapping[int, int], seed: int, server_round: int, task: Task, last: Collection[int] = ()
) -> list[int]:
    """Return the nodes in the order in which this round draws them: by the digests of their slots."""

    def place(node: int) -> tuple[bool, bytes]:
        text = f"oneflower sample {seed} {server_round} {task.value} {placed[node]}"
        return node in last, hashlib.sha256(text.encode()).digest()

    return sorted(placed, key=place)
