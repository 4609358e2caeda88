"""Messages that an app sends together, and what has come of each."""

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Final

from oneflower.flower.api import Error, Message, Metadata, RecordDict
from oneflower.flower.reply_grid import new_reply
from oneflower.stock.codec import Content
from oneflower.stock.delivery import Parcel
from oneflower.stock.stamp import Stamp

DEFAULT_TTL_S: Final = 43200.0
"""Flower's; a message with another one has a deadline that the app has set."""
HOLD_S: Final = 10.0
"""Replies to messages that were sent together wait for each other at least this long after the first one."""
LEFT_OUT: Final = "oneflower has left this reply out: "
"""How the error begins that the app gets in the place of a quarantined reply."""
HOLD_FACTOR: Final = 2.0
"""And as long as the first one took, times this."""


@dataclass(slots=True, kw_only=True)
class Posted:
    """One message: the `number`-th to its node, which is told by its stable id."""

    key: str
    node: int
    number: int
    message: Message
    ttl_s: float
    digest: str = ""
    content: Content = None
    settled: bool = False
    taken: bool = False
    replied: bool = False

    @classmethod
    def of(cls, message: Message, node: int, number: int) -> "Posted":
        """Return the message with its id, which is the same in each run."""
        ttl = message.metadata.ttl
        return cls(
            key=f"{node}-{number}",
            node=node,
            number=number,
            message=message,
            ttl_s=ttl if ttl < DEFAULT_TTL_S else float("inf"),
        )

    def parcel(self, now: float, stamp: Stamp) -> Parcel:
        """Return the message as it is sent, with the control record for its client's process."""
        metadata = self.message.metadata
        sent = stamp.onto(self.message.content, self.node, self.number)

        def message_for(real: int) -> Message:
            return Message(sent, real, metadata.message_type, ttl=metadata.ttl, group_id=metadata.group_id)

        return Parcel(
            key=self.key, node=self.node, kind=metadata.message_type, message_for=message_for, posted=now
        )

    def reply_message(self, run_id: int) -> Message:
        """Return the reply as the app gets it, and keep nothing of it."""
        content, self.content = self.content, None
        metadata = self.message.metadata
        sent = Metadata(
            run_id=run_id,
            message_id=self.key,
            src_node_id=metadata.src_node_id,
            dst_node_id=self.node,
            reply_to_message_id="",
            group_id=metadata.group_id,
            created_at=metadata.created_at,
            ttl=metadata.ttl,
            message_type=metadata.message_type,
        )
        given = content if isinstance(content, Error) else content or RecordDict()
        return new_reply(given, sent=sent, message_id=self.key)


@dataclass(slots=True, kw_only=True)
class Exchange:
    """What was sent in one call, and how it stands.

    Attributes
    ----------
    first
        When the first of its replies came.
    repeated, failed, quarantined, silent
        How many of its replies were recorded before, were errors of the clients, were left out, never came.
    """

    number: int
    began: float
    posted: dict[str, Posted] = field(default_factory=dict)
    first: float | None = None
    repeated: int = 0
    failed: int = 0
    quarantined: int = 0
    silent: int = 0
    told: bool = False

    @property
    def kind(self) -> str:
        """The type of its messages."""
        return next((each.message.metadata.message_type for each in self.posted.values()), "")

    @property
    def answered(self) -> tuple[int, ...]:
        """The nodes whose replies reached the app, or will."""
        return tuple(dict.fromkeys(each.node for each in self.posted.values() if each.replied))

    @property
    def waiting(self) -> list[str]:
        """The messages of which nothing has come."""
        return [each.key for each in self.posted.values() if not each.settled]

    def settle(self, posted: Posted, content: Content) -> None:
        """Note what has come of a message."""
        posted.content, posted.settled = content, True
        posted.replied = isinstance(content, RecordDict)
        posted.taken = content is None  # the app gets no reply

    def repeat(self, posted: Posted, content: Content) -> None:
        """Note what had come of a message in an earlier run."""
        self.repeated += 1
        if content is None:
            self.silent += 1
        elif isinstance(content, Error):
            left_out = (content.reason or "").startswith(LEFT_OUT)
            self.quarantined += left_out
            self.failed += not left_out
        self.settle(posted, content)

    def hands_out(self, now: float) -> bool:
        """Return whether its replies have waited for each other long enough."""
        if not self.waiting or self.first is None:
            return True
        return now - self.first >= max(HOLD_S, HOLD_FACTOR * (self.first - self.began))

    def take(self, wanted: Container[str]) -> list[Posted]:
        """Return the replies for the app that it has not got, in the order of the nodes."""
        ready = [
            each for each in self.posted.values() if each.settled and not each.taken and each.key in wanted
        ]
        for each in ready:
            each.taken = True
        return sorted(ready, key=lambda each: (each.node, each.number))


def in_order(exchanges: Iterable[Exchange]) -> list[Exchange]:
    """Return each exchange once, in the order in which they were begun."""
    return sorted({each.number: each for each in exchanges}.values(), key=lambda each: each.number)
