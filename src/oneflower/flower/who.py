"""Ask each node who it is, so that the order of the nodes is the same after a restart.

Flower gives a SuperNode a new random id at each start. A sample that is drawn from the ids takes other
partitions after a restart, whatever its seed. The process that runs the ClientApp answers the question
without calling the app. An answer is a label that its client may invent: it decides an order, nothing else.
"""

import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from logging import INFO, WARNING
from typing import Final

from oneflower.errors import AppError
from oneflower.flower.api import ConfigRecord, Context, ErrorCode, Grid, Message, MessageType, RecordDict, log
from oneflower.flower.arguments import NAME, client_name
from oneflower.flower.parts import PartTable, handed_part, with_part
from oneflower.newest import Newest

RECORD: Final = "oneflower-who"
"""The only record of a question, and of its answer."""
FORMAT: Final = "oneflower.who.1"
MOST_PARTITIONS: Final = 2**31
WAIT_S: Final = 30.0
"""A node that has not answered by then takes part all the same, as one that nobody knows."""
MOST_QUESTIONS: Final = 2
"""A node is asked no more than this often; Flower may lose the first question."""
ASK_AGAIN_S: Final = 60.0
_PAUSE_S: Final = 0.2
_PAUSE_PER_NODE_S: Final = 1 / 50
# What the app of a node without our executor replies; it would reply so again.
_NO: Final = frozenset({ErrorCode.CLIENT_APP_RAISED_EXCEPTION, ErrorCode.LOAD_CLIENT_APP_EXCEPTION})


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a client says it is: its partition and its name, None and empty where it says nothing.

    ``named`` is whether its operator gave it the name (`client-name`); else it is that of its machine.
    """

    partition: int | None = None
    name: str = ""
    named: bool = False


UNKNOWN: Final = Identity()


def order(node_ids: Iterable[int], identities: Mapping[int, Identity]) -> list[int]:
    """Return the nodes by partition, name and node id; those without a partition, then the unknown, last."""

    def place(node_id: int) -> tuple[int, int, str, int]:
        identity = identities.get(node_id, UNKNOWN)
        if identity.partition is not None:
            return 0, identity.partition, identity.name, node_id
        return 1 if identity.name else 2, 0, identity.name, node_id

    return sorted(node_ids, key=place)


# --- the client's side ----------------------------------------------------------------------------


def is_question(message: Message) -> bool:
    """Return whether a message asks who its receiver is."""
    if not message.has_content() or RECORD not in message.content:
        return False
    record = message.content[RECORD]
    return isinstance(record, ConfigRecord) and record.get("format") == FORMAT


def who_reply(message: Message, context: Context) -> Message:
    """Answer the question with this node's name and its partition, as the message assigns it if it does."""
    asked = message.content.config_records[RECORD]
    try:
        part = handed_part(asked, context.node_config)
    except AppError:  # a table that this node cannot read: its own partition counts
        part = None
    own = own_identity(with_part(context.node_config, part))
    return Message(RecordDict({RECORD: ConfigRecord({"format": FORMAT, **own})}), reply_to=message)


def own_identity(node_config: Mapping[str, object]) -> dict[str, str | int | bool]:
    """Return what a node's config says of its name and partition; without a name, its machine's."""
    given, partition = node_config.get(NAME), node_config.get("partition-id")
    named = isinstance(given, str) and given != ""
    name = client_name(str(given) if named else socket.gethostname())
    return {"name": name, "named": named, **({"partition": partition} if type(partition) is int else {})}


# --- the server's side ----------------------------------------------------------------------------


def question(node_id: int, parts: PartTable | None = None) -> Message:
    """Return the question for one node, with the table of partitions where there is one."""
    record = ConfigRecord({"format": FORMAT})
    content = RecordDict({RECORD: record if parts is None else parts.into(record)})
    return Message(content, node_id, MessageType.QUERY)


def checked_identity(values: Mapping[str, object]) -> Identity:
    """Return what is valid of a client's answer: an attacker's client sends what it likes."""
    name, partition = values.get("name"), values.get("partition")
    name = name if isinstance(name, str) and name == client_name(name) else ""
    return Identity(
        name=name,
        named=name != "" and values.get("named") is True,
        partition=partition if type(partition) is int and 0 <= partition < MOST_PARTITIONS else None,
    )


class Roll:
    """Who the nodes of a grid are, as far as they have said; each is asked once, a second time at most.

    Parameters
    ----------
    grid : Grid
        A grid of a real cluster as the rounds use it (with its limits of what is read), or a `LocalGrid`.
    parts : PartTable, optional
        Which partitions are assigned; its members are told them with the question.
    clock, sleep : callable
        Seconds that only grow; a pause in seconds.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        parts: PartTable | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._grid = grid
        self._parts = parts
        self._clock = clock
        self._sleep = sleep
        self._known: Newest[int, Identity] = Newest()
        self._asked: Newest[str, tuple[int | None, float]] = Newest()
        """By the question's id: whom it asks, and since when."""
        self._questions: Newest[int, int] = Newest()

    def order(self, node_ids: Iterable[int], timeout_s: float = WAIT_S) -> list[int]:
        """Return the nodes in the order of what they say they are; see `order` and `identities`."""
        nodes = list(node_ids)
        return order(nodes, self.identities(nodes, timeout_s))

    def identities(self, node_ids: Iterable[int], timeout_s: float = WAIT_S) -> dict[int, Identity]:
        """Return who these nodes are; only those that were never asked are asked, and waited for.

        A node that has not answered after `timeout_s` seconds, or whose app takes the question for one of its
        own and fails, is unknown. Its answer counts from the next call on where it comes later.
        """
        nodes = sorted(set(node_ids))
        self._listen()
        waits = set(self._ask(nodes))
        deadline = self._clock() + timeout_s
        while waits:
            self._listen()
            waits &= {node for node, _ in self._asked.values()}
            if not waits or self._clock() >= deadline:
                break
            pause = max(_PAUSE_S, len(waits) * _PAUSE_PER_NODE_S)
            self._sleep(min(pause, max(0.0, deadline - self._clock())))
        if waits:
            log(
                WARNING,
                "nodes have not said who they are: they are ordered by their ids, which a restart changes. "
                "nodes=%s waited_s=%.0f",
                sorted(waits),
                timeout_s,
            )
        return {node: self._known.get(node, UNKNOWN) for node in nodes}

    def forget(self) -> None:
        """Ask every node again: partitions were assigned to others. Earlier answers count no more."""
        self._known.clear()
        self._questions.clear()
        for message_id, (_, since) in list(self._asked.items()):
            self._asked[message_id] = None, since

    def _ask(self, nodes: Iterable[int]) -> list[int]:
        """Ask those that are unknown; return those that are asked for the first time."""
        since = dict(self._asked.values())
        now, new = self._clock(), []
        for node in nodes:
            times = self._questions.get(node, 0)
            waiting = node in since and now - since[node] < ASK_AGAIN_S
            if node in self._known or times >= MOST_QUESTIONS or waiting:
                continue
            self._questions[node] = times + 1
            for message_id in self._grid.push_messages([question(node, self._parts)]):
                if message_id:  # empty: the node is gone
                    self._asked[str(message_id)] = node, now
                    new += [node] if not times else []
        return new

    def _listen(self) -> None:
        for answer in self._grid.pull_messages(list(self._asked)) if self._asked else ():
            node, _ = self._asked.pop(answer.metadata.reply_to_message_id, (None, 0.0))
            if node is None or (answer.has_error() and answer.error.code not in _NO):
                continue  # the node has died, or its executor: it is asked once more
            self._known[node] = who = _identity_of(answer)
            log(INFO, "node says who it is node=%d partition=%s name=%s", node, who.partition, who.name)


def _identity_of(answer: Message) -> Identity:
    return checked_identity(answer.content.config_records[RECORD]) if is_question(answer) else UNKNOWN
