"""What oneflower's grids are made of: a Grid that delegates to another one, and the state of one phase."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from oneflower.flower.api import Grid, GrpcGrid, Message, RecordDict, Run
from oneflower.flower.spool import Spool
from oneflower.flower.waiting import Pacing, phase_ends_s


class DelegatingGrid(Grid):
    """A Grid that delegates every call to an inner one; subclasses override some of the calls."""

    def __init__(self, inner: Grid) -> None:
        self._inner = inner

    def keep_replies_in(self, spool: Spool) -> bool:
        """Put what is pulled into this file as long as it is open; return whether the innermost grid can."""
        return isinstance(self._inner, DelegatingGrid) and self._inner.keep_replies_in(spool)

    @property
    def is_of_cluster(self) -> bool:
        """Whether messages go to a SuperLink, and not to clients in this process."""
        inner = self._inner
        return inner.is_of_cluster if isinstance(inner, DelegatingGrid) else isinstance(inner, GrpcGrid)

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

    def wait_for_replies(self, message_ids: Iterable[str], hold_s: float) -> Iterable[Message]:
        """Pull replies; where none is there, let the SuperLink wait for one, if it can."""
        inner = self._inner
        if isinstance(inner, DelegatingGrid):
            return inner.wait_for_replies(message_ids, hold_s)
        return inner.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send and receive through the inner Grid."""
        return self._inner.send_and_receive(messages, timeout=timeout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One node's answer of a phase, and how many seconds after the sending it came."""

    node_id: int
    message: Message
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """A message without a reply: to whom it was sent, when, and when the node was first asked for that work.

    ``work`` is empty where the reply is of no use now.
    """

    node_id: int
    work: str
    asked: float
    sent: float


@dataclass(slots=True, kw_only=True)
class Phase:
    """The state of one exchange of messages.

    Attributes
    ----------
    messages, pending
        What each node was sent, and the messages that have no reply yet, by their ids.
    held
        Messages that are sent once their nodes have said whether they can unpack.
    sent
        When each node was sent its work in this phase; the start for work of before.
    took, seconds
        Of the valid replies: at which second of the phase each came, and how long its message was away.
    quorum_s
        At which second the valid replies were a quorum; None before.
    deadline_s
        How long the others have from then on; 0 for a grace period that is measured.
    done
        Whether the replies that are still missing are of no use.
    """

    started: float
    timeout_s: float
    message_type: str
    work: str
    messages: dict[int, Message] = field(default_factory=dict)
    held: dict[int, Message] = field(default_factory=dict)
    pending: dict[str, Owed] = field(default_factory=dict)
    sent: dict[int, float] = field(default_factory=dict)
    resent: set[int] = field(default_factory=set)
    took: dict[int, float] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    quorum_s: float | None = None
    deadline_s: float = 0.0
    done: Callable[[], bool] = lambda: False

    def is_over(self, elapsed: float, usual: Callable[[], Mapping[int, float]], pacing: Pacing) -> bool:
        """Return whether nobody is waited for any longer; `usual` returns what nodes usually take."""
        if elapsed >= self.timeout_s:
            return True
        if self.quorum_s is None:
            return False
        if self.deadline_s:
            return elapsed >= self.quorum_s + self.deadline_s
        return elapsed >= phase_ends_s(self.quorum_s, self.took, usual(), pacing)

    def silent(self) -> set[int]:
        """Return the nodes that were asked and have not answered."""
        return {owed.node_id for owed in self.pending.values()}

    def asked(self, node_id: int) -> float:
        """Return when a node that has not answered was first asked for this work."""
        return min(
            (owed.asked for owed in self.pending.values() if owed.node_id == node_id), default=self.started
        )
