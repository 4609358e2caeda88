"""How long a phase waits for whom, by how long valid replies took.

Nobody who is slow, silent or sends rubbish may set these times, so each rests on a median of the valid
replies, or on the moment at which the quorum was in. Fewer than half of the nodes move neither beyond what
the honest ones took.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_high, median_low

from oneflower.flower.api import Message
from oneflower.newest import MOST, Newest


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """How often the grid polls, and how long it waits; all times in seconds."""

    min_poll_s: float = 0.2
    """The SuperLink's database serves 65 to 130 pulls a second: never ask faster than this."""
    poll_per_node_s: float = 1 / 50
    """With many nodes each pull is heavier: never ask faster than this times the nodes."""
    hold_s: float = 1.0
    """How long the SuperLink may hold a poll: a phase may end so much later than its deadline."""
    held_s: float = 0.5
    """A poll without a reply that takes this long was held: the next, too, is answered when there is one."""
    held_poll_per_node_s: float = 1 / 2000
    """The pause after a held poll, for each node: with many, a poll brings several replies."""
    max_poll_s: float = 3.0
    slowdown: float = 0.05
    """The pause between two polls as a fraction of the time that the phase has taken so far."""
    resend_factor: float = 2.0
    """A node is silent when it takes this many times what the others, or it itself, took."""
    resend_floor_s: float = 5.0
    unknown_fraction: float = 0.25
    """Where no duration is known yet, a node is silent after this fraction of the timeout. What others took
    never makes it wait longer."""
    grace_factor: float = 5.0
    """With a quorum in, the rest gets this many times what the quorum, or the median node, took."""
    grace_floor_s: float = 60.0
    """Flower's lease: a node that died is answered for by then."""
    suspicion_s: float = 65.0
    """A node that never answered is not sampled until its lease must have ended."""
    report_every_s: float = 5.0


LATEST = 3
"""How many of a node's last durations count: of three, one alone changes nothing."""


class Durations:
    """How long the last valid replies of each node took, for each type of message, of the newest nodes."""

    def __init__(self) -> None:
        self._known: Newest[tuple[str, int], deque[float]] = Newest(4 * MOST)

    def note(self, kind: str, node_id: int, seconds: float) -> None:
        """Add a node's newest duration."""
        known = self._known.get((kind, node_id), deque(maxlen=LATEST))
        known.append(seconds)
        self._known[kind, node_id] = known

    def of(self, kind: str, node_id: int) -> Sequence[float]:
        """Return a node's last durations, none before its first valid reply."""
        return self._known.get((kind, node_id), ())

    def usual(self, kind: str, nodes: Iterable[int]) -> dict[int, float]:
        """Return what each of these nodes usually takes, where that is known."""
        return {node: usual_s(known) for node in nodes if (known := self.of(kind, node))}

    def patience(
        self,
        kind: str,
        nodes: Collection[int],
        seconds: Mapping[int, float],
        timeout_s: float,
        pacing: Pacing,
    ) -> Callable[[int], float]:
        """Return what says for how long a node may be silent, `patience_s`, in a phase with these nodes.

        `seconds` are those of the valid replies that have come.
        """
        others = Typical({**self.usual(kind, nodes), **seconds}, len(nodes))
        return lambda node: patience_s(self.of(kind, node), others.expected(node), timeout_s, pacing)


Pull = Callable[[list[str], float], Iterable[Message]]
"""Returns the replies to messages that are there; may wait for one for so many seconds."""


class Polls:
    """Asks for replies, and learns whether the SuperLink answers when one is there."""

    def __init__(self, pacing: Pacing, clock: Callable[[], float]) -> None:
        self._pacing, self._clock = pacing, clock
        self._holds = self._may_hold = True

    @property
    def holds(self) -> bool:
        """Whether the last poll waited for a reply where it could; assumed before the first one without."""
        return self._holds and self._may_hold

    def replies(self, pull: Pull, message_ids: Collection[str], left_s: float) -> Iterator[Message]:
        """Yield the replies that `pull` returns, which may be held for so many seconds."""
        hold_s = max(0.0, min(self._pacing.hold_s, left_s))
        self._may_hold = hold_s > 0
        began, empty = self._clock(), True
        for message in pull(list(message_ids), hold_s) if message_ids else ():
            empty = False
            yield message
        if message_ids and empty and hold_s >= self._pacing.held_s:
            self._holds = self._clock() - began >= self._pacing.held_s


def usual_s(durations: Sequence[float]) -> float:
    """Return what a node usually takes: the median of its last valid replies, of two the longer one."""
    return median_high(durations)


def pause_s(elapsed: float, nodes: int, timeout_s: float, pacing: Pacing, *, holds: bool = False) -> float:
    """Return how long to pause before the next poll of a phase with so many nodes, at most until its end.

    With `holds` the SuperLink itself waits for a reply.
    """
    fastest = max(pacing.min_poll_s, nodes * pacing.poll_per_node_s)
    pause = max(fastest, min(pacing.max_poll_s, elapsed * pacing.slowdown))
    if holds:
        pause = nodes * pacing.held_poll_per_node_s
    return max(0.0, min(pause, timeout_s - elapsed))


def typical_s(durations: Iterable[float]) -> float | None:
    """Return the median of the nodes' durations, of an even number the lower one in the middle; None of none.

    As long as fewer than half of the nodes lie, it is at most the longest that an honest one took.
    """
    found = list(durations)
    return median_low(found) if found else None


def phase_ends_s(
    quorum_s: float, took: Mapping[int, float], usual: Mapping[int, float], pacing: Pacing
) -> float:
    """Return at which second of a phase the wait for the rest ends, once there is a quorum.

    Parameters
    ----------
    quorum_s
        At which second the valid replies became a quorum. Nothing that comes later moves it.
    took
        At which second each node's valid reply came.
    usual
        What each node that has not replied usually takes, where that is known: many slow ones are waited for,
        also where a few have replied at once.
    """
    typical = typical_s([*took.values(), *(each for node, each in usual.items() if node not in took)])
    return max(pacing.grace_floor_s, pacing.grace_factor * max(quorum_s, typical or 0.0))


class Typical:
    """What the other nodes take, for each of many nodes, by the durations that are known.

    Parameters
    ----------
    durations
        By node, in seconds.
    nodes
        How many nodes there are, those without a duration among them.
    """

    def __init__(self, durations: Mapping[int, float], nodes: int) -> None:
        self._durations, self._sorted = durations, sorted(durations.values())
        self._nodes = nodes

    def without(self, node_id: int) -> float | None:
        """Return the lower median of all durations but this node's; None of none."""
        own = self._durations.get(node_id)
        count = len(self._sorted) - (own is not None)
        if count == 0:
            return None
        middle = (count - 1) // 2
        if own is not None and middle >= bisect_left(self._sorted, own):
            middle += 1
        return self._sorted[middle]

    def expected(self, node_id: int) -> float | None:
        """Return `without`, and more of it the more of the others have no duration yet.

        Many nodes take turns at the SuperLink. Where replies come one after the other at an even pace, their
        median is half of the time that has passed, and the last reply comes when that time has grown by as
        much as there are nodes for each reply.
        """
        typical = self.without(node_id)
        known = len(self._sorted) - (node_id in self._durations)
        return typical if typical is None else typical * (1 + 2 * max(0, self._nodes - 1 - known) / known)


def patience_s(own: Sequence[float], typical: float | None, timeout_s: float, pacing: Pacing) -> float:
    """Return the seconds after which a node counts as silent and is sent its work once more.

    Parameters
    ----------
    own
        The node's last durations: a slow node is not given its work twice in each round.
    typical
        What the other nodes are expected to take, `Typical.expected`; None where that is not known.
    """
    unknown = pacing.unknown_fraction * timeout_s
    if typical is None and not own:
        return unknown
    by_others = 0.0 if typical is None else min(pacing.resend_factor * typical, unknown)
    by_itself = pacing.resend_factor * usual_s(own) if own else 0.0
    return max(pacing.resend_floor_s, by_others, by_itself)
