"""A Grid that calls the ClientApp in this process: for tests, and for experiments with many clients."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from oneflower.flower.api import ClientApp, Context, Grid, Message, RecordDict, Run, UserConfigValue
from oneflower.flower.arguments import NAME
from oneflower.flower.calls.call import call_client
from oneflower.flower.door import port
from oneflower.lab.generators import generators_kept


class LocalGrid(Grid):
    """Serve messages by calling a ClientApp, one message after another.

    A message runs when its reply is pulled, so that a reply is returned before the next client starts and at
    most one client's working memory is held. As on a SuperNode, earlier messages to the same client run
    before it, also those whose replies nobody pulls; `finish` runs what is left. Torch's random generator
    belongs to the process: clients that ran side by side in threads would disturb each other's draws.

    Parameters
    ----------
    client_app : ClientApp
        The app of the clients.
    clients : int
        How many; client `i` has `partition-id=i` and `num-partitions=clients`.
    run_config : mapping
        What Flower would hand to the apps as `context.run_config`.
    node_ids : sequence of int, optional
        Flower's ids are random; a test passes others to show that nothing depends on them.
    app : str
        The run's `fab_id`.
    """

    def __init__(
        self,
        client_app: ClientApp,
        *,
        clients: int,
        run_config: Mapping[str, UserConfigValue],
        node_ids: Sequence[int] | None = None,
        app: str = "",
    ) -> None:
        self._client_app = client_app
        port.identify_server(run_id=1)
        self._run = port.new_run(run_id=1, fab_id=app)
        self._contexts = {
            node_id: Context(
                run_id=1,
                node_id=node_id,
                node_config={
                    "partition-id": partition,
                    "num-partitions": clients,
                    NAME: f"client-{partition}",
                },
                state=RecordDict(),
                run_config=dict(run_config),
            )
            for partition, node_id in enumerate(node_ids or range(1000, 1000 + clients))
        }
        self._queue: dict[str, Message] = {}
        self._replies: dict[str, Message] = {}
        """Of messages that ran before their replies were pulled."""
        self._count = 0

    def set_run(self, run_id: int) -> None:
        """Set the run's id."""
        self._run.run_id = run_id

    @property
    def run(self) -> Run:
        """Run information."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return every client's id."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Queue messages; return their ids."""
        ids = []
        for message in messages:
            self._count += 1
            message_id = f"{self._count}-{message.metadata.dst_node_id}-{time.monotonic_ns()}"
            port.address(message, run_id=self._run.run_id, message_id=message_id)
            self._queue[message_id] = message
            ids.append(message_id)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        """Run the queued messages of these ids; hand on each reply as it is made."""
        for message_id in list(message_ids):
            if message_id in self._replies:
                yield self._replies.pop(message_id)
            elif message_id in self._queue:
                self._run_earlier(message_id)
                yield self._reply(self._queue.pop(message_id))

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Run all messages and return their replies; nothing can be late here, so `timeout` is not used."""
        del timeout
        return list(self.pull_messages(self.push_messages(messages)))

    def finish(self) -> None:
        """Run the messages whose replies nobody has pulled: on a cluster they would have run, too."""
        for message_id in list(self._queue):
            self._reply(self._queue.pop(message_id))

    def _run_earlier(self, message_id: str) -> None:
        """Run what the same client was sent before this message."""
        node_id = self._queue[message_id].metadata.dst_node_id
        earlier = []
        for each, message in self._queue.items():
            if each == message_id:
                break
            if message.metadata.dst_node_id == node_id:
                earlier.append(each)
        for each in earlier:
            self._replies[each] = self._reply(self._queue.pop(each))

    def _reply(self, message: Message) -> Message:
        """Call the ClientApp as a SuperNode does.

        The messages of a phase share their content: what one client's app does to it must not reach the next.
        """
        if message.has_content():
            message.content = RecordDict({name: each.copy() for name, each in message.content.items()})
        with generators_kept():
            return call_client(self._client_app, message, self._contexts[message.metadata.dst_node_id])
