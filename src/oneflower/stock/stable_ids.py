"""Node ids that a restart does not change, for the code of an app.

Flower gives a SuperNode a new random id when everything was restarted. A strategy that samples by id, or that
keeps something for each id, would go on differently. So an app sees ids that follow from what the nodes say
they are: partition and name.
"""

from collections.abc import Iterable

from oneflower.flower.api import Grid, Message
from oneflower.flower.door import port
from oneflower.flower.grid import RoundGrid
from oneflower.flower.grid_base import DelegatingGrid
from oneflower.flower.who import Roll
from oneflower.stock.nodes import Pins, StableNodes

_SAME_COHORT = 3
"""So often one choice of clients sees the same nodes; one that goes on asking waits for others to connect."""


class StableIds:
    """Stable ids of nodes, and the nodes behind them now.

    A client that invents who it is gets an id that is free at most; see `StableNodes`. Which update is whose
    is decided by Flower's own ids. ``pins`` are kept with the checkpoints: who had which id.
    """

    def __init__(self, roll: Roll, pins: Pins | None = None) -> None:
        self._roll = roll
        self._nodes = StableNodes(pins)
        self._stable: dict[int, int] = {}

    def shown(self, nodes: Iterable[int]) -> list[int]:
        """Return the stable ids of these nodes, ascending."""
        listed = list(nodes)
        stable = self._nodes.update(listed, self._roll.identities(listed))
        self._stable |= {self.node(each): each for each in stable}
        return stable

    def of(self, grid: Grid, hidden: frozenset[int] = frozenset()) -> Grid:
        """Return a grid in which the nodes have their stable ids, for one choice of clients.

        The nodes in `hidden` are not there at first, if they are at most half of all.
        """
        return _ShownGrid(grid, self, hidden)

    def node(self, stable: int) -> int:
        """Return the node behind a stable id; the id itself where there is none."""
        real = self._nodes.real(stable)
        return stable if real is None else real

    def to_nodes(self, messages: Iterable[Message]) -> list[Message]:
        """Address messages to the nodes behind their stable ids."""
        return [
            Message(
                message.content,
                self.node(message.metadata.dst_node_id),
                message.metadata.message_type,
                ttl=message.metadata.ttl,
                group_id=message.metadata.group_id,
            )
            for message in messages
        ]

    def from_node(self, reply: Message) -> Message:
        """Let a reply come from the stable id of its node."""
        node = reply.metadata.src_node_id
        port.set_sender(reply, self._stable.get(node, node))
        return reply


class _ShownGrid(DelegatingGrid):
    """What a strategy sees while it chooses clients."""

    def __init__(self, inner: Grid, ids: StableIds, hidden: frozenset[int]) -> None:
        super().__init__(inner)
        self._ids = ids
        self._hidden = hidden
        self._looks = 0

    def get_node_ids(self) -> Iterable[int]:
        """Return the stable ids of the round's nodes; of those that are there now to one that asks on."""
        self._looks += 1
        if self._looks > _SAME_COHORT and isinstance(self._inner, RoundGrid):
            return self._ids.shown(self._inner.online())
        shown = self._ids.shown(self._inner.get_node_ids())
        left = [node for node in shown if self._ids.node(node) not in self._hidden]
        return left if 2 * len(left) >= len(shown) else shown

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Push messages to the nodes behind their ids."""
        return self._inner.push_messages(self._ids.to_nodes(messages))

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Pull replies from the stable ids of their nodes."""
        return [self._ids.from_node(reply) for reply in self._inner.pull_messages(message_ids)]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Exchange messages with the nodes behind their ids."""
        replies = self._inner.send_and_receive(self._ids.to_nodes(messages), timeout=timeout)
        return [self._ids.from_node(reply) for reply in replies]
