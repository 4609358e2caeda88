"""A Grid for rounds: no reply is missed by a poll, and no round waits long for a lost message.

Flower's own `send_and_receive` polls every three seconds, does not poll after its last sleep, and waits for
a lost message until the timeout. Flower loses a message when a SuperNode's connection is reset after
delivery, and replies for a dead node only when its lease of 60 s ends.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from logging import INFO, WARNING

from oneflower.flower.api import Grid, Message, log
from oneflower.flower.grid_base import DelegatingGrid, Owed, Pacing, Phase, Reply
from oneflower.flower.packing_grid import PackingGrid
from oneflower.flower.refusals import refusal_of

__all__ = ["Pacing", "Reply", "RoundGrid"]

# Flower counts a message's life, 12 h, in the wall clock; one that is set by a day must not end it.
CLOCK_SLACK_S = 2 * 86400.0


class RoundGrid(DelegatingGrid):
    """A Grid for rounds: adaptive polling, work sent again to a silent node, late replies drained.

    Parameters
    ----------
    inner : Grid
        Flower's Grid, a `PackingGrid` around it, or a `LocalGrid`.
    pacing : Pacing
        How often it polls, how long it waits.
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
        super().__init__(inner)
        self._pacing = pacing or Pacing()
        self._clock = clock
        self._sleep = sleep
        self._cohort: list[int] | None = None
        self._late: dict[str, Owed] = {}
        self._expected = ""
        self._at_work_since: dict[int, float] = {}
        self._suspect_until: dict[int, float] = {}
        self._usual_s: dict[tuple[str, int], float] = {}

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

    def online(self) -> list[int]:
        """Return the nodes that are online, in ascending order of id."""
        return sorted(self._inner.get_node_ids())

    def available(self) -> list[int]:
        """Return the nodes that are online and not suspected to be dead, in ascending order of id."""
        return self._trusted(self.online())

    def _trusted(self, online: Iterable[int]) -> list[int]:
        now = self._clock()
        self._suspect_until = {node: end for node, end in self._suspect_until.items() if end > now}
        return [node for node in online if node not in self._suspect_until]

    def silent_s(self, node_id: int) -> float | None:
        """Return for how long a node has not replied; None where no reply is outstanding."""
        since = self._at_work_since.get(node_id)
        return None if since is None else self._clock() - since

    def wait_for_nodes(
        self, needed: int, *, timeout_s: float, on_wait: Callable[[int], object] = bool
    ) -> list[int]:
        """Wait until `needed` nodes are available; return those that are, fewer after `timeout_s` seconds.

        Where only silent nodes make up the number, they are asked again: a round without clients shows
        nothing. `on_wait` is called with the number of connected nodes every few seconds while waiting.
        """
        deadline = self._clock() + timeout_s
        next_report = self._clock()
        while True:
            online = self.online()
            nodes = self._trusted(online)
            if len(nodes) >= needed or self._clock() >= deadline:
                return nodes
            if len(online) >= needed:
                self._drain_late()
                return online
            if self._clock() >= next_report:
                on_wait(len(online))
                self._drain_late()
                next_report = self._clock() + self._pacing.report_every_s
            self._sleep(min(0.5, max(0.0, deadline - self._clock())))

    def pause(self, seconds: float) -> None:
        """Pause between two attempts of a round, by this grid's clock."""
        self._sleep(seconds)

    # --- one phase of a round ---------------------------------------------------------------------

    def exchange(
        self,
        messages: Iterable[Message],
        *,
        timeout_s: float,
        enough: Callable[[], bool] = lambda: False,
        work: str = "",
    ) -> Iterator[Reply]:
        """Send messages, one per node, and yield each node's first reply as it comes.

        Parameters
        ----------
        messages : Iterable[Message]
            At most one for each node, all of one type.
        timeout_s : float
            The phase ends after this many seconds, with one last poll.
        enough : callable
            True once the replies so far are a quorum; the others then have a grace period only.
        work : str
            What the messages ask for. A node whose reply to the same work is outstanding is not asked again:
            that reply counts when it comes. Empty: replies to earlier messages are of no use.

        Yields
        ------
        Reply
            An error reply counts as a node's reply when no other message to it is outstanding.
        """
        phase = self._send(list(messages), timeout_s, work)
        while phase.pending:
            last_poll = self._is_over(phase, enough)
            yield from self._poll(phase)
            if last_poll or not phase.pending:
                break
            self._resend_to_silent(phase)
            self._sleep(self._pause_s(phase))
        self._give_up(phase)

    def _send(self, messages: list[Message], timeout_s: float, work: str) -> Phase:
        self._drain_late(work)
        if isinstance(self._inner, PackingGrid):
            self._inner.greet(messages)
        kind = messages[0].metadata.message_type if messages else ""
        phase = Phase(started=self._clock(), timeout_s=timeout_s, message_type=kind, work=work)
        for message in messages:
            if not self._expect_late(phase, message):
                self._push(phase, message)
        return phase

    def _expect_late(self, phase: Phase, message: Message) -> bool:
        """Wait for a node's outstanding reply, if it is to the same work; return whether there is one."""
        node_id = message.metadata.dst_node_id
        alike = {key: each for key, each in self._late.items() if phase.work and each.work == phase.work}
        owed = {key: each for key, each in alike.items() if each.node_id == node_id}
        for message_id, each in owed.items():
            del self._late[message_id]
            phase.pending[message_id] = node_id
            phase.asked[node_id] = min(each.asked, phase.asked.get(node_id, each.asked))
        if owed:
            phase.sent[node_id] = message
        return bool(owed)

    def _push(self, phase: Phase, message: Message) -> None:
        node_id = message.metadata.dst_node_id
        phase.sent[node_id] = message
        message.metadata.ttl = max(message.metadata.ttl, phase.timeout_s) + CLOCK_SLACK_S
        for message_id in self._inner.push_messages([message]):
            if message_id:  # an empty id: the SuperLink refused the message, for a node that is gone
                phase.pending[str(message_id)] = node_id

    def _poll(self, phase: Phase) -> Iterator[Reply]:
        for message in self._inner.pull_messages(list(phase.pending)):
            node_id = phase.pending.pop(message.metadata.reply_to_message_id, None)
            if node_id is None:
                continue
            if message.has_error() and node_id in phase.silent() and refusal_of(message) is None:
                log(INFO, "first message lost round_message=%s node=%d", phase.message_type, node_id)
                continue
            yield self._answer(phase, node_id, message)

    def _answer(self, phase: Phase, node_id: int, message: Message) -> Reply:
        asked = phase.asked.get(node_id, phase.started)
        seconds = self._clock() - asked
        for message_id in [key for key, node in phase.pending.items() if node == node_id]:
            del phase.pending[message_id]
            self._late[message_id] = Owed(node_id=node_id, work="", asked=asked)
        self._at_work_since.pop(node_id, None)
        if not message.has_error():
            phase.answer_seconds[node_id] = seconds
            self._usual_s[phase.message_type, node_id] = seconds
            self._suspect_until.pop(node_id, None)
        return Reply(node_id=node_id, message=message, seconds=seconds)

    def _is_over(self, phase: Phase, enough: Callable[[], bool]) -> bool:
        elapsed = self._clock() - phase.started
        if elapsed >= phase.timeout_s:
            return True
        slowest = phase.slowest_s()
        if slowest is None or not enough():
            return False
        return elapsed >= max(self._pacing.grace_floor_s, self._pacing.grace_factor * slowest)

    def _pause_s(self, phase: Phase) -> float:
        pacing = self._pacing
        elapsed = self._clock() - phase.started
        fastest = max(pacing.min_poll_s, len(phase.sent) * pacing.poll_per_node_s)
        pause = max(fastest, min(pacing.max_poll_s, elapsed * pacing.slowdown))
        return max(0.0, min(pause, phase.timeout_s - elapsed))

    # --- silence ----------------------------------------------------------------------------------

    def _patience_s(self, phase: Phase, node_id: int) -> float:
        """Return the seconds after which this node counts as silent and is sent its work once more."""
        known = [self._usual_s.get((phase.message_type, node_id)), phase.slowest_s()]
        durations = [seconds for seconds in known if seconds is not None]
        if not durations:
            return self._pacing.unknown_fraction * phase.timeout_s
        return max(self._pacing.resend_floor_s, self._pacing.resend_factor * max(durations))

    def _resend_to_silent(self, phase: Phase) -> None:
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

    def _give_up(self, phase: Phase) -> None:
        silent = phase.silent()
        for node in silent:
            self._suspect_until[node] = self._clock() + self._pacing.suspicion_s
            self._at_work_since.setdefault(node, phase.asked.get(node, phase.started))
            log(WARNING, "no answer node=%d message=%s", node, phase.message_type)
        for message_id, node in phase.pending.items():
            asked = phase.asked.get(node, phase.started)
            self._late[message_id] = Owed(node_id=node, work=phase.work, asked=asked)
        self._expected = phase.work

    def _drain_late(self, work: str | None = None) -> None:
        """Pull replies that are no longer waited for, so that the SuperLink can drop their arrays.

        Those to the given work, by default that of the last phase, are left: its next attempt waits for them.
        """
        wanted = self._expected if work is None else work
        drained = [key for key, owed in self._late.items() if not owed.work or owed.work != wanted]
        for message in self._inner.pull_messages(drained) if drained else ():
            owed = self._late.pop(message.metadata.reply_to_message_id, None)
            self._at_work_since.pop(owed.node_id if owed else 0, None)
            if owed is not None and not message.has_error():
                self._suspect_until.pop(owed.node_id, None)
