"""A Grid that hands everything on to another one: what ours are made from."""

from collections.abc import Iterable

from flwr.common import Message, RecordDict
from flwr.common.typing import Run
from flwr.server import Grid


class GridAround(Grid):
    """Delegates Flower's Grid to an inner one; who extends it changes what it is there for."""

    def __init__(self, inner: Grid) -> None:
        self._inner = inner

    def set_run(self, run_id: int) -> None:
        """Set the run of the inner Grid."""
        self._inner.set_run(run_id)

    @property
    def run(self) -> Run:
        """Run information of the inner Grid."""
        return self._inner.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message; deprecated in Flower, kept for apps that call it."""
        return self._inner.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes that are online."""
        return self._inner.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Push messages through the inner Grid."""
        return self._inner.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Pull replies through the inner Grid."""
        return self._inner.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send and receive through the inner Grid."""
        return self._inner.send_and_receive(messages, timeout=timeout)
