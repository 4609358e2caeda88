"""A Grid that packs the small arrays of messages to those nodes that can unpack them."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from logging import INFO
from math import inf
from typing import Final

from oneflower.codes import LeftOutCode
from oneflower.flower.api import ArrayRecord, ErrorCode, Grid, Message, log
from oneflower.flower.grid_base import DelegatingGrid
from oneflower.flower.packing import greeting, index_bytes, is_greeting, pack, packed_record, unpack
from oneflower.flower.refusals import refuse, words_of
from oneflower.newest import Newest

GREETING_S: Final = 30.0
"""A node that has not replied by then, or in a quarter of the phase, gets its first message unpacked."""
MOST_GREETINGS: Final = 2
"""A node is greeted no more than this often without a packed reply; then it gets its messages unpacked."""
FREE_INDEX_BYTES: Final = 64 << 10
# What the app of a node without our executor replies to a greeting.
_NO: Final = frozenset({ErrorCode.CLIENT_APP_RAISED_EXCEPTION, ErrorCode.LOAD_CLIENT_APP_EXCEPTION})


class PackingGrid(DelegatingGrid):
    """Packs what is pushed and unpacks what is pulled; asks each node whether it can unpack.

    Nobody waits for what another node says: the message to a node may wait for that node's own answer, once,
    and an answer that comes later is used from the next phase on.

    Parameters
    ----------
    inner : Grid
        Flower's Grid of a real cluster.
    clock : callable
        Seconds that only grow.
    """

    def __init__(
        self,
        inner: Grid,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(inner)
        self._clock = clock
        self._can: Newest[int, bool] = Newest()
        self._asked: dict[str, int] = {}
        self._last: tuple[ArrayRecord, ArrayRecord | None] | None = None
        self._longest_index = 0
        self._greeted: Newest[int, int] = Newest()
        self._wait_until = 0.0
        self._slow: Newest[int, bool] = Newest()
        """Nodes that have not replied in time once: their messages do not wait again."""

    def greet(self, messages: Sequence[Message], timeout_s: float = inf) -> None:
        """Ask new receivers of many small arrays whether they can unpack; wait for nobody."""
        self._listen()
        wanted = {message.metadata.dst_node_id for message in messages if self._is_worth_it(message)}
        unknown = wanted - self._can.keys() - set(self._asked.values())
        self._ask(sorted(node for node in unknown if self._greeted.get(node, 0) < MOST_GREETINGS))
        self._wait_until = self._clock() + min(GREETING_S, timeout_s / 4)

    def undecided(self, nodes: Iterable[int]) -> set[int]:
        """Return which of these nodes may still say whether they can unpack before their first message."""
        waits = set(nodes) & set(self._asked.values()) - self._slow.keys()
        if not waits:
            return set()
        self._listen()
        waits &= set(self._asked.values())
        if self._clock() < self._wait_until:
            return waits
        for node in waits:
            self._slow[node] = True
        return set()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Push messages, packed for those who can unpack them."""
        return self._inner.push_messages([self._packed(message) for message in messages])

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        """Pull replies and unpack them; one that cannot be unpacked is refused."""
        return self._unpacked(self._inner.pull_messages(message_ids))

    def wait_for_replies(self, message_ids: Iterable[str], hold_s: float) -> Iterator[Message]:
        """Wait for replies, and unpack them as `pull_messages` does."""
        return self._unpacked(super().wait_for_replies(message_ids, hold_s))

    def _unpacked(self, replies: Iterable[Message]) -> Iterator[Message]:
        for message in replies:
            if message.has_content():
                try:
                    if unpack(message.content, longest_index=FREE_INDEX_BYTES + 2 * self._longest_index):
                        self._greeted[message.metadata.src_node_id] = 1
                except Exception as error:  # noqa: BLE001 - whatever a client can cause is that client's
                    refuse(message, words_of(error), LeftOutCode.UNREADABLE)
            elif message.error.code in _NO:
                self._can.pop(message.metadata.src_node_id, None)  # its program may be another one now
            yield message

    def _is_worth_it(self, message: Message) -> bool:
        records = message.content.array_records.values() if message.has_content() else ()
        return any(self._together(record) for record in records)

    def _together(self, record: ArrayRecord) -> ArrayRecord | None:
        """Pack a record; all messages of a phase share one, which is packed once."""
        if self._last is None or self._last[0] is not record:
            together = packed_record(record)
            self._last = record, together
            self._longest_index = max(self._longest_index, index_bytes(together) if together else 0)
        return self._last[1]

    def _packed(self, message: Message) -> Message:
        metadata = message.metadata
        if not self._can.get(metadata.dst_node_id) or not message.has_content():
            return message
        content = pack(message.content, self._together)
        if content is None:
            return message
        return Message(
            content,
            metadata.dst_node_id,
            metadata.message_type,
            ttl=metadata.ttl,
            group_id=metadata.group_id,
        )

    def _ask(self, nodes: Sequence[int]) -> None:
        for node in nodes:
            self._greeted[node] = self._greeted.get(node, 0) + 1
            for message_id in self._inner.push_messages([greeting(node)]):
                if message_id:
                    self._asked[str(message_id)] = node

    def _listen(self) -> None:
        for answer in self._inner.pull_messages(list(self._asked)) if self._asked else ():
            node = self._asked.pop(answer.metadata.reply_to_message_id, None)
            if node is None or (answer.has_error() and answer.error.code not in _NO):
                continue  # the node has died, or its executor: it is asked again
            self._can[node] = is_greeting(answer)
            log(INFO, "small arrays are packed node=%d answer=%s", node, "yes" if self._can[node] else "no")
