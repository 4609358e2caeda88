"""Deliver messages to nodes by their stable ids, and send those again that are lost, as in a round.

`RoundGrid` gives a whole phase to one caller, one message a node. An app's own loop sends what it likes and
polls by itself, and Flower's legacy server does so from one thread a client: here each message stands by
itself. Its caller lets one thread at a time in.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from logging import INFO, WARNING
from typing import Final

from oneflower.flower.api import ErrorCode, Grid, Message, log
from oneflower.flower.grid import CLOCK_SLACK_S
from oneflower.flower.packing_grid import PackingGrid
from oneflower.flower.refusals import refusal_of, was_too_large
from oneflower.flower.waiting import Durations, Pacing, patience_s, typical_s
from oneflower.flower.who import Roll
from oneflower.newest import Newest
from oneflower.stock.nodes import Pins, StableNodes

WHO_S: Final = 60.0
"""A node that has not said who it is by then has an id that a restart changes."""
MOST_TRIES: Final = 3
"""A message whose client was lost is sent no more than this often."""
_LOOK_EVERY_S: Final = 1.0
_BETWEEN_LOOKS_S: Final = 0.5
_AFTER_A_LOSS_S: Final = 5.0
# The SuperLink or the SuperNode answers for a client that is gone: another try may find it back.
_LOST: Final = frozenset(
    {
        ErrorCode.MESSAGE_UNAVAILABLE,
        ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
        ErrorCode.NODE_UNAVAILABLE,
        ErrorCode.CLIENT_APP_CRASHED,
    }
)


@dataclass(slots=True, kw_only=True)
class Parcel:
    """A message on its way.

    Attributes
    ----------
    key
        By which its sender asks for it.
    node
        The stable id of its node.
    message_for
        Makes the message for Flower's id of the node.
    ids
        Flower's ids of the messages that were sent and not answered; none while its node is away.
    sent, not_before
        When it was sent last, and from when on it may be sent again.
    """

    key: str
    node: int
    kind: str
    message_for: Callable[[int], Message]
    posted: float
    sent: float = 0.0
    not_before: float = 0.0
    tries: int = 0
    resent: bool = False
    ids: set[str] = field(default_factory=set)


class Delivery:
    """Sends parcels, sends them again, and collects the replies.

    Parameters
    ----------
    grid : Grid
        With the limits of what is read of a reply; see `ReplyGrid`.
    patience_s : float
        How long a parcel waits for a node that was there and has gone.
    pins : dict, optional
        Who had which stable id before; see `StableNodes`.
    """

    def __init__(  # noqa: PLR0913 - two of them are for tests
        self,
        grid: Grid,
        *,
        patience_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        pacing: Pacing | None = None,
        pins: Pins | None = None,
    ) -> None:
        self._grid = grid
        self._patience_s = patience_s
        self._clock = clock
        self._sleep = sleep
        self.pacing = pacing or Pacing()
        self._roll = Roll(grid, clock=clock, sleep=sleep)
        self._nodes = StableNodes(pins)
        self._durations = Durations()
        self._parcels: dict[str, Parcel] = {}
        self._by_id: dict[str, str] = {}
        self._late: Newest[str, None] = Newest()
        self._looked = float("-inf")

    @property
    def outstanding(self) -> int:
        """How many parcels are on their way, those of other threads too."""
        return len(self._parcels)

    def online(self) -> list[int]:
        """Return the stable ids of the nodes that are online, ascending."""
        real = list(self._grid.get_node_ids())
        self._looked = self._clock()
        return self._nodes.update(real, self._roll.identities(real, min(WHO_S, self._patience_s)))

    def online_with(self, known: list[int], on_wait: Callable[[int, int], object]) -> list[int]:
        """Return the stable ids of the nodes that are online, once those that are known are back among them.

        They are waited for as long as a parcel is; `on_wait` is told how many are connected and how many are
        to be.
        """
        began, told = self._clock(), float("-inf")
        nodes = self.online()
        while (missing := set(known) - set(nodes)) and self._clock() - began < self._patience_s:
            if self._clock() - told >= self.pacing.report_every_s:
                told = self._clock()
                log(INFO, "waiting for clients connected=%d missing=%s", len(nodes), sorted(missing))
                on_wait(len(nodes), len(nodes) + len(missing))
            self._sleep(_BETWEEN_LOOKS_S)
            nodes = self.online()
        return nodes

    def post(self, parcels: Iterable[Parcel]) -> None:
        """Send parcels, to those that are away as soon as they are back."""
        posted = list(parcels)
        for parcel in posted:
            self._parcels[parcel.key] = parcel
        self._drain_late()
        if isinstance(self._grid, PackingGrid):
            known = [(parcel, self._nodes.real(parcel.node)) for parcel in posted]
            messages = [parcel.message_for(real) for parcel, real in known if real is not None]
            self._grid.greet(messages, self._patience_s)
        self._send_waiting()

    def collect(self, keys: Collection[str]) -> Iterator[tuple[str, Message]]:
        """Yield what has come of these parcels: replies, and errors in the place of those that are lost."""
        self._send_waiting()
        ids = [each for key in keys if key in self._parcels for each in self._parcels[key].ids]
        for reply in self._grid.pull_messages(ids) if ids else ():
            key = self._by_id.pop(reply.metadata.reply_to_message_id, None)
            if key is not None and self._is_final(self._parcels[key], reply):
                self._measure(self._parcels[key], reply)
                self._forget(key)
                yield key, reply
        self._send_again(keys)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Return which of these parcels have waited too long for a node that was there, and forget them."""
        now = self._clock()
        gone = [
            key
            for key in keys
            if key in self._parcels
            and not self._parcels[key].ids
            and now - max(self._parcels[key].posted, self._parcels[key].sent) > self._patience_s
        ]
        for key in gone:
            self._forget(key)
        return gone

    def give_up(self, keys: Iterable[str]) -> None:
        """Wait no longer for these parcels; their replies are dropped when they come."""
        for key in keys:
            if key in self._parcels:
                log(WARNING, "no answer node=%d message=%s", self._parcels[key].node, self._parcels[key].kind)
                self._forget(key)

    def _forget(self, key: str) -> None:
        for message_id in self._parcels.pop(key).ids:
            self._by_id.pop(message_id, None)
            self._late[message_id] = None

    def _send_waiting(self) -> None:
        now = self._clock()
        waiting = [each for each in self._parcels.values() if not each.ids and now >= each.not_before]
        if not waiting:
            return
        # A parcel that was lost may find its node under another id.
        away = any(parcel.tries or self._nodes.real(parcel.node) is None for parcel in waiting)
        if away and now - self._looked >= _LOOK_EVERY_S:
            self.online()
        nodes = {parcel.key: self._nodes.real(parcel.node) for parcel in waiting}
        there = {real for real in nodes.values() if real is not None}
        held = self._grid.undecided(there) if isinstance(self._grid, PackingGrid) else set()
        for parcel in waiting:
            real = nodes[parcel.key]
            if real is not None and real not in held:
                self._push(parcel, real)

    def _push(self, parcel: Parcel, real: int) -> None:
        message = parcel.message_for(real)
        message.metadata.ttl = max(message.metadata.ttl, self._patience_s) + CLOCK_SLACK_S
        parcel.sent = self._clock()
        parcel.not_before = parcel.sent + _AFTER_A_LOSS_S
        for message_id in self._grid.push_messages([message]):
            if message_id:  # empty: the SuperLink refused it, for a node that is gone
                parcel.ids.add(str(message_id))
                self._by_id[str(message_id)] = parcel.key

    def _is_final(self, parcel: Parcel, reply: Message) -> bool:
        """Return whether a reply is what comes of its parcel; one that is lost is sent again."""
        parcel.ids.discard(reply.metadata.reply_to_message_id)
        if not reply.has_error() or refusal_of(reply) is not None or was_too_large(reply.error):
            return True
        if reply.error.code not in _LOST:
            return True
        if parcel.ids:
            log(INFO, "first message lost message=%s node=%d", parcel.kind, parcel.node)
            return False
        parcel.tries += 1
        if parcel.tries >= MOST_TRIES:
            return True
        self._looked = float("-inf")
        log(
            WARNING,
            "client lost, its message is sent again when it is back node=%d message=%s reason=%s",
            parcel.node,
            parcel.kind,
            reply.error.reason,
        )
        return False

    def _measure(self, parcel: Parcel, reply: Message) -> None:
        if not reply.has_error():
            self._durations.note(parcel.kind, parcel.node, self._clock() - parcel.sent)

    def _send_again(self, keys: Iterable[str]) -> None:
        """Send once more to nodes that are silent longer than their work can take: Flower loses messages."""
        now = self._clock()
        for key in keys:
            parcel = self._parcels.get(key)
            if parcel is None or parcel.resent or not parcel.ids:
                continue
            own = self._durations.of(parcel.kind, parcel.node)
            usual = self._durations.usual(parcel.kind, self._nodes.there() - {parcel.node})
            if now - parcel.sent < patience_s(own, typical_s(usual.values()), self._patience_s, self.pacing):
                continue
            real = self._nodes.real(parcel.node)
            if real is not None and real in set(self._grid.get_node_ids()):
                log(WARNING, "work sent again node=%d message=%s", parcel.node, parcel.kind)
                self._push(parcel, real)
            parcel.resent = True

    def _drain_late(self) -> None:
        """Pull replies that nobody waits for, so that the SuperLink can drop their arrays."""
        for reply in self._grid.pull_messages(list(self._late)) if self._late else ():
            self._late.pop(reply.metadata.reply_to_message_id, None)
