"""Our wrapper of Flower's Grid: no reply is lost to a poll, and no round hangs on a lost message.

Flower's own `send_and_receive` polls every three seconds, does not poll after its last sleep, and waits
for a lost message until the timeout. Flower loses a message when a SuperNode's connection is reset after
delivery, and answers for a dead node only when its lease of 60 s ends.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from logging import INFO, WARNING

from flwr.common import Message, RecordDict, log
from flwr.common.typing import Run
from flwr.server import Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """How often the grid asks, and how long it is patient; all times in seconds."""

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


@dataclass(slots=True, kw_only=True)
class _Phase:
    """What one exchange of messages is waiting for."""

    started: float
    timeout_s: float
    message_type: str
    sent: dict[int, Message] = field(default_factory=dict)
    pending: dict[str, int] = field(default_factory=dict)
    resent: set[int] = field(default_factory=set)
    answer_seconds: dict[int, float] = field(default_factory=dict)

    def silent(self) -> set[int]:
        return set(self.pending.values())

    def slowest_s(self) -> float | None:
        return max(self.answer_seconds.values(), default=None)


class RoundGrid(Grid):
    """A Grid for rounds: adaptive polling, work sent again to a silent node, late replies drained.

    Parameters
    ----------
    inner : Grid
        Flower's Grid, or a `LocalGrid`.
    pacing : Pacing
        How often it asks, how long it is patient.
    clock, sleep : callable
        Seconds that only grow; a pause in seconds. Tests pass their own.
    """

    def __init__(
        self,
        inner: Grid,
        *,
        pacing: Pacing | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._inner = inner
        self._pacing = pacing or Pacing()
        self._clock = clock
        self._sleep = sleep
        self._cohort: list[int] | None = None
        self._late: dict[str, int] = {}
        self._suspect_until: dict[int, float] = {}
        self._usual_s: dict[tuple[str, int], float] = {}

    # --- Flower's Grid, delegated -----------------------------------------------------------------

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

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Push messages through the inner Grid."""
        return self._inner.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Pull replies through the inner Grid."""
        return self._inner.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send, and wait for every reply or the timeout, as Flower's Grid promises."""
        timeout_s = float("inf") if timeout is None else timeout
        return [reply.message for reply in self.exchange(messages, timeout_s=timeout_s)]

    # --- nodes ------------------------------------------------------------------------------------

    def get_node_ids(self) -> Iterable[int]:
        """Return the cohort of the round where one is set, else the nodes that are online."""
        return self._inner.get_node_ids() if self._cohort is None else list(self._cohort)

    def set_cohort(self, node_ids: Iterable[int] | None) -> None:
        """Make `get_node_ids`, and so Flower's own sampling, see these nodes only."""
        self._cohort = None if node_ids is None else sorted(node_ids)

    def available(self) -> list[int]:
        """Return the nodes that are online and under no suspicion, in ascending order of id."""
        now = self._clock()
        self._suspect_until = {node: end for node, end in self._suspect_until.items() if end > now}
        return sorted(node for node in self._inner.get_node_ids() if node not in self._suspect_until)

    def wait_for_nodes(
        self, needed: int, *, timeout_s: float, on_wait: Callable[[int], object] = bool
    ) -> list[int]:
        """Wait until `needed` nodes are available; return those that are, fewer after `timeout_s` seconds.

        `on_wait` is called with the number of connected nodes every few seconds while waiting.
        """
        deadline = self._clock() + timeout_s
        next_report = self._clock()
        while len(nodes := self.available()) < needed and self._clock() < deadline:
            if self._clock() >= next_report:
                on_wait(len(nodes))
                self._drain_late()
                next_report = self._clock() + self._pacing.report_every_s
            self._sleep(min(0.5, max(0.0, deadline - self._clock())))
        return nodes

    def pause(self, seconds: float) -> None:
        """Pause between two tries of a round, in the clock that this grid goes by."""
        self._sleep(seconds)

    # --- one phase of a round ---------------------------------------------------------------------

    def exchange(
        self, messages: Iterable[Message], *, timeout_s: float, enough: Callable[[], bool] = lambda: False
    ) -> Iterator[Reply]:
        """Send messages, one a node, and hand on each node's first answer as it comes.

        Parameters
        ----------
        messages : Iterable[Message]
            At most one for each node, all of one type.
        timeout_s : float
            The phase ends after this many seconds, with one last poll.
        enough : callable
            True once the replies so far are a quorum; then the rest gets a grace period only.

        Yields
        ------
        Reply
            An error reply counts as a node's answer when nothing else is under way for it.
        """
        phase = self._send(list(messages), timeout_s)
        while phase.pending:
            last_poll = self._is_over(phase, enough)
            yield from self._poll(phase)
            if last_poll or not phase.pending:
                break
            self._resend_to_silent(phase)
            self._sleep(self._pause_s(phase))
        self._give_up(phase)

    def _send(self, messages: list[Message], timeout_s: float) -> _Phase:
        self._drain_late()
        kind = messages[0].metadata.message_type if messages else ""
        phase = _Phase(started=self._clock(), timeout_s=timeout_s, message_type=kind)
        for message in messages:
            self._push(phase, message)
        return phase

    def _push(self, phase: _Phase, message: Message) -> None:
        node_id = message.metadata.dst_node_id
        phase.sent[node_id] = message
        for message_id in self._inner.push_messages([message]):
            if message_id:  # an empty id: the SuperLink refused the message, for a node that is gone
                phase.pending[str(message_id)] = node_id

    def _poll(self, phase: _Phase) -> Iterator[Reply]:
        for message in self._inner.pull_messages(list(phase.pending)):
            node_id = phase.pending.pop(message.metadata.reply_to_message_id, None)
            if node_id is None:
                continue
            if message.has_error() and node_id in phase.silent():
                log(INFO, "first message lost round_message=%s node=%d", phase.message_type, node_id)
                continue
            yield self._answer(phase, node_id, message)

    def _answer(self, phase: _Phase, node_id: int, message: Message) -> Reply:
        seconds = self._clock() - phase.started
        for message_id in [key for key, node in phase.pending.items() if node == node_id]:
            self._late[message_id] = phase.pending.pop(message_id)
        if not message.has_error():
            phase.answer_seconds[node_id] = seconds
            self._usual_s[phase.message_type, node_id] = seconds
            self._suspect_until.pop(node_id, None)
        return Reply(node_id=node_id, message=message, seconds=seconds)

    def _is_over(self, phase: _Phase, enough: Callable[[], bool]) -> bool:
        elapsed = self._clock() - phase.started
        if elapsed >= phase.timeout_s:
            return True
        slowest = phase.slowest_s()
        if slowest is None or not enough():
            return False
        return elapsed >= max(self._pacing.grace_floor_s, self._pacing.grace_factor * slowest)

    def _pause_s(self, phase: _Phase) -> float:
        pacing = self._pacing
        elapsed = self._clock() - phase.started
        fastest = max(pacing.min_poll_s, len(phase.sent) * pacing.poll_per_node_s)
        pause = max(fastest, min(pacing.max_poll_s, elapsed * pacing.slowdown))
        return max(0.0, min(pause, phase.timeout_s - elapsed))

    # --- silence ----------------------------------------------------------------------------------

    def _patience_s(self, phase: _Phase, node_id: int) -> float:
        """Return the seconds after which this node counts as silent and gets its work once more."""
        known = [self._usual_s.get((phase.message_type, node_id)), phase.slowest_s()]
        durations = [seconds for seconds in known if seconds is not None]
        if not durations:
            return self._pacing.unknown_fraction * phase.timeout_s
        return max(self._pacing.resend_floor_s, self._pacing.resend_factor * max(durations))

    def _resend_to_silent(self, phase: _Phase) -> None:
        elapsed = self._clock() - phase.started
        overdue = {node for node in phase.silent() - phase.resent if elapsed >= self._patience_s(phase, node)}
        for node in sorted(overdue & set(self._inner.get_node_ids())) if overdue else ():
            log(
                WARNING, "work sent again node=%d message=%s silent_s=%.0f", node, phase.message_type, elapsed
            )
            phase.resent.add(node)
            lost = phase.sent[node]
            again = Message(lost.content, node, phase.message_type, group_id=lost.metadata.group_id)
            self._push(phase, again)

    def _give_up(self, phase: _Phase) -> None:
        silent = phase.silent()
        for node in silent:
            self._suspect_until[node] = self._clock() + self._pacing.suspicion_s
            log(WARNING, "no answer node=%d message=%s", node, phase.message_type)
        self._late.update(phase.pending)

    def _drain_late(self) -> None:
        """Take replies that nobody waits for any more, so that the SuperLink can drop their arrays."""
        if not self._late:
            return
        for message in self._inner.pull_messages(list(self._late)):
            node_id = self._late.pop(message.metadata.reply_to_message_id, None)
            if node_id is not None and not message.has_error():
                self._suspect_until.pop(node_id, None)
