"""A Grid for rounds: no reply is missed by a poll, and no round waits long for a lost message.

Flower's own `send_and_receive` polls every three seconds, does not poll after its last sleep, and waits for
a lost message until the timeout. Flower loses a message when a SuperNode's connection is reset after
delivery, and replies for a dead node only when its lease of 60 s ends.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from logging import INFO, WARNING

from oneflower.flower.api import Grid, Message, log
from oneflower.flower.grid_base import DelegatingGrid, Owed, Phase, Reply
from oneflower.flower.packing_grid import PackingGrid
from oneflower.flower.refusals import refusal_of
from oneflower.flower.waiting import Durations, Pacing, Polls, pause_s

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
        self._durations = Durations()
        self._polls = Polls(self._pacing, clock)

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
        self,
        needed: int,
        *,
        timeout_s: float,
        on_wait: Callable[[int, set[int]], object] = lambda *_: None,
        uncounted: Callable[[set[int], float], set[int]] = lambda *_: set(),
    ) -> list[int]:
        """Wait until `needed` nodes are available; return those that are, fewer after `timeout_s` seconds.

        Where only silent nodes make up the number, they are asked again: a round without clients shows
        nothing. `uncounted` says which of those that are online do not make up the number after so many
        seconds. `on_wait` is called every few seconds with the number of connected nodes, and the uncounted.
        """
        began = next_report = self._clock()
        deadline = began + timeout_s
        while True:
            online = self.online()
            nodes, ignored = self._trusted(online), uncounted(set(online), self._clock() - began)
            if len(set(nodes) - ignored) >= needed or self._clock() >= deadline:
                return nodes
            if len(set(online) - ignored) >= needed:
                self._drain_late()
                return online
            if self._clock() >= next_report:
                on_wait(len(online), ignored)
                self._drain_late()
                next_report = self._clock() + self._pacing.report_every_s
            self._sleep(min(0.5, max(0.0, deadline - self._clock())))

    def pause(self, seconds: float) -> None:
        """Pause between two attempts of a round, by this grid's clock."""
        self._sleep(seconds)

    # --- one phase of a round ---------------------------------------------------------------------

    def exchange(  # noqa: PLR0913 - by name only
        self,
        messages: Iterable[Message],
        *,
        timeout_s: float,
        enough: Callable[[], bool] = lambda: False,
        is_valid: Callable[[Reply], bool] = lambda reply: not reply.message.has_error(),
        done: Callable[[], bool] = lambda: False,
        deadline_s: float = 0.0,
        work: str = "",
    ) -> Iterator[Reply]:
        """Send messages, one per node, and yield each node's first reply as it comes.

        Parameters
        ----------
        messages : Iterable[Message]
            At most one for each node, all of one type. After `timeout_s` seconds there is one last poll.
        enough : callable
            True once the replies so far are a quorum; the others then have a grace period only.
        is_valid : callable
            Asked once the caller has taken a reply: only valid ones say how long the work takes.
        done : callable
            True once the missing replies are of no use: nobody waits for them.
        deadline_s : float
            How long the others have once there is a quorum; 0 for a grace period that is measured.
        work : str
            What the messages ask for. A node whose reply to the same work is outstanding is not asked again:
            that reply counts when it comes. Empty: replies to earlier messages are of no use.

        Yields
        ------
        Reply
            An error reply counts as a node's reply when no other message to it is outstanding.
        """
        phase = self._send(list(messages), timeout_s, work)
        phase.done, phase.deadline_s = done, deadline_s
        while phase.pending or phase.held:
            last_poll = self._is_over(phase)
            self._push_held(phase)
            for reply, duration in self._poll(phase):
                came = self._clock() - phase.started
                yield reply
                if is_valid(reply):
                    self._measured(phase, reply.node_id, came, duration)
                if phase.quorum_s is None and phase.took and enough():
                    phase.quorum_s = came
            if last_poll or done() or not (phase.pending or phase.held):
                break
            self._resend_to_silent(phase)
            elapsed, nodes = self._clock() - phase.started, len(phase.messages)
            self._sleep(pause_s(elapsed, nodes, timeout_s, self._pacing, holds=self._polls.holds))
        self._give_up(phase)

    def _send(self, messages: list[Message], timeout_s: float, work: str) -> Phase:
        self._drain_late(work)
        kind = messages[0].metadata.message_type if messages else ""
        phase = Phase(started=self._clock(), timeout_s=timeout_s, message_type=kind, work=work)
        if isinstance(self._inner, PackingGrid):
            self._inner.greet(messages, timeout_s)
        new = [message for message in messages if not self._expect_late(phase, message)]
        phase.held = {message.metadata.dst_node_id: message for message in new}
        return phase

    def _push_held(self, phase: Phase) -> None:
        """Send what was not sent yet, but to nodes that have not said yet whether they can unpack."""
        waits: set[int] = set()
        if phase.held and isinstance(self._inner, PackingGrid):
            waits = self._inner.undecided(phase.held)
        for node_id in [each for each in phase.held if each not in waits]:
            self._push(phase, phase.held.pop(node_id))

    def _expect_late(self, phase: Phase, message: Message) -> bool:
        """Wait for a node's outstanding reply, if it is to the same work; return whether there is one."""
        node_id = message.metadata.dst_node_id
        alike = {key: each for key, each in self._late.items() if phase.work and each.work == phase.work}
        owed = [key for key, each in alike.items() if each.node_id == node_id]
        for message_id in owed:
            phase.pending[message_id] = self._late.pop(message_id)
        if owed:
            phase.messages[node_id] = message
            phase.sent[node_id] = phase.started
        return bool(owed)

    def _push(self, phase: Phase, message: Message) -> None:
        now, node_id = self._clock(), message.metadata.dst_node_id
        phase.messages[node_id] = message
        message.metadata.ttl = max(message.metadata.ttl, phase.timeout_s) + CLOCK_SLACK_S
        owed = Owed(node_id=node_id, work=phase.work, asked=phase.asked(node_id), sent=now)
        phase.sent.setdefault(node_id, now)
        for message_id in self._inner.push_messages([message]):
            if message_id:  # an empty id: the SuperLink refused the message, for a node that is gone
                phase.pending[str(message_id)] = owed

    def _poll(self, phase: Phase) -> Iterator[tuple[Reply, float]]:
        """Yield the nodes' first replies that have come, and how long the message of each was away."""
        left_s = 0.0 if phase.held else phase.started + phase.timeout_s - self._clock()
        for message in self._polls.replies(self.wait_for_replies, phase.pending, left_s):
            owed = phase.pending.get(message.metadata.reply_to_message_id)
            if owed is None:
                continue
            asked = phase.asked(owed.node_id)
            del phase.pending[message.metadata.reply_to_message_id]
            if message.has_error() and owed.node_id in phase.silent() and refusal_of(message) is None:
                log(INFO, "first message lost message=%s node=%d", phase.message_type, owed.node_id)
                continue
            self._answered(phase, owed.node_id, message)
            now = self._clock()
            yield Reply(node_id=owed.node_id, message=message, seconds=now - asked), now - owed.sent

    def _answered(self, phase: Phase, node_id: int, message: Message) -> None:
        """Note that a node is alive; its other messages of this phase are of no use now."""
        for message_id in [key for key, owed in phase.pending.items() if owed.node_id == node_id]:
            self._late[message_id] = replace(phase.pending.pop(message_id), work="")
        self._at_work_since.pop(node_id, None)
        if not message.has_error():
            self._suspect_until.pop(node_id, None)

    def _measured(self, phase: Phase, node_id: int, came: float, duration: float) -> None:
        """Count the times of a valid reply; a message that was sent again counts from then on."""
        phase.took[node_id] = came
        phase.seconds[node_id] = duration
        self._durations.note(phase.message_type, node_id, duration)

    def _is_over(self, phase: Phase) -> bool:
        usual = partial(self._durations.usual, phase.message_type, phase.messages)
        return phase.is_over(self._clock() - phase.started, usual, self._pacing)

    # --- silence ----------------------------------------------------------------------------------

    def _overdue(self, phase: Phase) -> set[int]:
        """Return the nodes that are silent for longer than their work can take."""
        patience = self._durations.patience(
            phase.message_type, phase.messages, phase.seconds, phase.timeout_s, self._pacing
        )
        now = self._clock()
        return {node for node in phase.silent() - phase.resent if now - phase.sent[node] >= patience(node)}

    def _resend_to_silent(self, phase: Phase) -> None:
        overdue = self._overdue(phase)
        for node in sorted(overdue & set(self._inner.get_node_ids())) if overdue else ():
            lost, silent_s = phase.messages[node], self._clock() - phase.sent[node]
            told = "work sent again node=%d message=%s silent_s=%.0f"
            log(WARNING, told, node, phase.message_type, silent_s)
            phase.resent.add(node)
            again = Message(lost.content, node, phase.message_type, group_id=lost.metadata.group_id)
            self._push(phase, again)

    def _give_up(self, phase: Phase) -> None:
        for node in phase.silent():
            self._at_work_since.setdefault(node, phase.asked(node))
            if not phase.done():
                self._suspect_until[node] = self._clock() + self._pacing.suspicion_s
                log(WARNING, "no answer node=%d message=%s", node, phase.message_type)
        self._late.update(phase.pending)
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
