"""A Grid that lets no reply raise, and no client say whose reply it is."""

import time
from collections.abc import Iterable, Iterator

from oneflower.flower.api import Error, GrpcGrid, Message, Metadata, RecordDict
from oneflower.flower.door import port
from oneflower.flower.grid_base import DelegatingGrid
from oneflower.flower.refusals import Limits, limits_for
from oneflower.flower.spool import Spool


class ReplyGrid(DelegatingGrid):
    """Pushes through Flower's Grid of a real cluster, and pulls replies with limits from what was pushed.

    A reply that cannot be read comes as an error reply of the node that was asked, with a `Refusal`. Its
    metadata are those of the message that it answers, whatever stands in it. `max_update_bytes` is the
    operator's limit (FL_MAX_UPDATE_MB), 0 without.
    """

    def __init__(self, inner: GrpcGrid, max_update_bytes: int = 0) -> None:
        super().__init__(inner)
        # Imported here: only the version that is deployed has them, and a simulation pulls none.
        from oneflower.flower.door import replies  # noqa: PLC0415

        self._grid, self._replies = inner, replies
        self._max_update_bytes = max_update_bytes
        self._sent: dict[str, tuple[Metadata, Limits]] = {}
        self._spool: Spool | None = None

    def keep_replies_in(self, spool: Spool) -> bool:
        """Put the arrays of replies into this file as long as it is open."""
        self._spool = spool
        return True

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Push messages, and keep what a reply to each may hold."""
        listed = list(messages)
        ids = list(self._inner.push_messages(listed))
        for message, message_id in zip(listed, ids, strict=False):
            if message_id:
                content = message.content if message.has_content() else RecordDict()
                limits = limits_for(content, self._max_update_bytes)
                self._sent[message_id] = message.metadata, limits
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        """Pull the replies that have come, each by itself, one after the other."""
        return self.wait_for_replies(message_ids, 0.0)

    def wait_for_replies(self, message_ids: Iterable[str], hold_s: float) -> Iterator[Message]:
        """Pull replies; the SuperLink waits for so long for the first one."""
        store = self._spool.put if self._spool is not None and self._spool.is_open else None
        pulled = self._replies.pull(self._grid, list(message_ids), self._limits_of, store, hold_s=hold_s)
        for message_id, content in pulled:
            sent, _ = self._sent.pop(message_id)
            yield new_reply(content, sent=sent, message_id=message_id)

    def _limits_of(self, message_id: str) -> Limits | None:
        found = self._sent.get(message_id)
        return None if found is None else found[1]


def new_reply(content: RecordDict | Error, *, sent: Metadata, message_id: str) -> Message:
    """Return a reply to a message: who has sent it, to what and of which type is as the message says."""
    metadata = Metadata(
        run_id=sent.run_id,
        message_id="",
        src_node_id=sent.dst_node_id,
        dst_node_id=port.SUPERLINK_NODE_ID,
        reply_to_message_id=message_id,
        group_id=sent.group_id,
        created_at=time.time(),
        ttl=sent.ttl,
        message_type=sent.message_type,
    )
    if isinstance(content, Error):
        return port.make_message(metadata=metadata, error=content)
    return port.make_message(metadata=metadata, content=content)
