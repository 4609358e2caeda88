"""What oneflower's grids are made of: a Grid that delegates to another one, and the state of one phase."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from oneflower.flower.api import Grid, Message, RecordDict, Run


class DelegatingGrid(Grid):
    """A Grid that delegates every call to an inner one; subclasses override some of the calls."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """How often the grid polls, and how long it waits; all times in seconds."""

    min_poll_s: float = 0.2
    """The SuperLink's database serves 65 to 130 pulls a second: never ask faster than this."""
    poll_per_node_s: float = 1 / 50
    """With many nodes each pull is heavier: never ask faster than this times the nodes."""
    max_poll_s: float = 3.0
    slowdown: float = 0.05
    """The pause between two polls as a fraction of the time that the phase has taken so far."""
    resend_factor: float = 2.0
    """A node is silent when it takes this many times what the slowest of the others took."""
    resend_floor_s: float = 5.0
    unknown_fraction: float = 0.25
    """Where no duration is known yet, a node is silent after this fraction of the timeout."""
    grace_factor: float = 5.0
    """With a quorum in, the rest gets this many times what the slowest answer took."""
    grace_floor_s: float = 60.0
    """Flower's lease: a node that died is answered for by then."""
    suspicion_s: float = 65.0
    """A node that never answered is not sampled until its lease must have ended."""
    report_every_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One node's answer of a phase, and how many seconds after the sending it came."""

    node_id: int
    message: Message
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """A message whose reply is no longer waited for. ``work`` is empty where the reply is of no use now."""

    node_id: int
    work: str
    asked: float


@dataclass(slots=True, kw_only=True)
class Phase:
    """The state of one exchange of messages. ``asked`` holds when a node was asked before it began."""

    started: float
    timeout_s: float
    message_type: str
    work: str
    asked: dict[int, float] = field(default_factory=dict)
    sent: dict[int, Message] = field(default_factory=dict)
    pending: dict[str, int] = field(default_factory=dict)
    resent: set[int] = field(default_factory=set)
    answer_seconds: dict[int, float] = field(default_factory=dict)

    def silent(self) -> set[int]:
        """Return the nodes that have not answered."""
        return set(self.pending.values())

    def slowest_s(self) -> float | None:
        """Return the longest that an answer took, None before the first."""
        return max(self.answer_seconds.values(), default=None)
