"""A Grid that packs the small arrays of messages to those nodes that can unpack them."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from logging import INFO
from typing import Final

from oneflower.codes import LeftOutCode
from oneflower.flower.api import ArrayRecord, ErrorCode, Grid, Message, log
from oneflower.flower.grid_base import DelegatingGrid
from oneflower.flower.packing import greeting, index_bytes, is_greeting, pack, packed_record, unpack
from oneflower.flower.refusals import refuse, words_of

GREETING_S: Final = 30.0
"""A node that has not replied by then gets its first message unpacked."""
FREE_INDEX_BYTES: Final = 64 << 10
POLL_S, POLL_PER_NODE_S = 0.1, 1 / 50
# What the app of a node without our executor replies to a greeting.
_NO: Final = frozenset({ErrorCode.CLIENT_APP_RAISED_EXCEPTION, ErrorCode.LOAD_CLIENT_APP_EXCEPTION})


class PackingGrid(DelegatingGrid):
    """Packs what is pushed and unpacks what is pulled; asks each node once whether it can unpack.

    Parameters
    ----------
    inner : Grid
        Flower's Grid of a real cluster.
    clock, sleep : callable
        Seconds that only grow; a pause in seconds.
    """

    def __init__(
        self,
        inner: Grid,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(inner)
        self._clock = clock
        self._sleep = sleep
        self._can: dict[int, bool] = {}
        self._asked: dict[str, int] = {}
        self._last: tuple[ArrayRecord, ArrayRecord | None] | None = None
        self._longest_index = 0
        self._slow: set[int] = set()
        """Nodes that have not replied in time once: no round waits for them again."""

    def greet(self, messages: Sequence[Message]) -> None:
        """Ask new receivers of many small arrays whether they can unpack; wait for their replies, once."""
        wanted = {message.metadata.dst_node_id for message in messages if self._is_worth_it(message)}
        if wanted - self._can.keys():
            self._ask(sorted(wanted - self._can.keys() - set(self._asked.values())))
        deadline = self._clock() + GREETING_S
        self._listen_for(wanted)
        while self._clock() < deadline and (wanted - self._slow) & set(self._asked.values()):
            self._sleep(max(POLL_S, POLL_PER_NODE_S * len(self._asked)))
            self._listen_for(wanted)
        self._slow |= wanted & set(self._asked.values())

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Push messages, packed for those who can unpack them."""
        return self._inner.push_messages([self._packed(message) for message in messages])

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        """Pull replies and unpack them; one that cannot be unpacked is refused."""
        for message in self._inner.pull_messages(message_ids):
            if message.has_content():
                try:
                    unpack(message.content, longest_index=FREE_INDEX_BYTES + 2 * self._longest_index)
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
            for message_id in self._inner.push_messages([greeting(node)]):
                if message_id:
                    self._asked[str(message_id)] = node

    def _listen_for(self, wanted: set[int]) -> None:
        if wanted & set(self._asked.values()):
            self._listen()

    def _listen(self) -> None:
        for answer in self._inner.pull_messages(list(self._asked)):
            node = self._asked.pop(answer.metadata.reply_to_message_id, None)
            if node is None or (answer.has_error() and answer.error.code not in _NO):
                continue  # the node has died, or its executor: it is asked again
            self._can[node] = is_greeting(answer)
            log(INFO, "small arrays are packed node=%d answer=%s", node, "yes" if self._can[node] else "no")
