"""Which moments are worth a mark in the curves, and how people distinguish them without colour."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from oneflower.journal import Event, TrainingState
from oneflower.journal import events as e
from oneflower.journal.state.records import Moment
from oneflower.monitor.text.lines import describe

MOST_MARKS: Final = 60


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of mark: its class in the style, its sign, its name in the legend, and how bad it is."""

    style: str
    sign: str
    name: str
    weight: int


LOST: Final = Kind("bad", "✕", "training lost", 5)
FAILED_ROUND: Final = Kind("warn", "▲", "round failed", 4)
UNSAVED: Final = Kind("bad", "▼", "checkpoint failed", 4)
RESUMED: Final = Kind("good", "↻", "resumed", 3)
WAITING: Final = Kind("warn", "◌", "waiting for clients", 2)
NODE: Final = Kind("warn", "⊘", "client or process gone", 2)
QUARANTINE: Final = Kind("warn", "◆", "client left out for the first time", 1)
PLAIN: Final = Kind("plain", "•", "news", 0)
DONE: Final = Kind("good", "✓", "finished", 3)

KINDS: Final[Mapping[type[Event], Kind]] = {
    e.RunLost: LOST,
    e.TrainingFailed: LOST,
    e.AppFailed: LOST,
    e.TrainingGaveUp: LOST,
    e.RoundFailed: FAILED_ROUND,
    e.CheckpointFailed: UNSAVED,
    e.TrainingSaving: UNSAVED,
    e.TrainingResumed: RESUMED,
    e.WaitingForClients: WAITING,
    e.ProcessDied: NODE,
    e.ClientLeft: NODE,
    e.JoinRefused: NODE,
    e.ClientQuarantined: QUARANTINE,
    e.ClientFailed: QUARANTINE,
    e.TrainingFinished: DONE,
}
# What is drawn into the curves; the timeline shows every moment.
DRAWN: Final = frozenset({LOST, FAILED_ROUND, UNSAVED, RESUMED, WAITING, NODE})


@dataclass(frozen=True, slots=True)
class Mark:
    """What happened at one place of the axis of rounds."""

    position: float
    kind: Kind
    texts: tuple[str, ...]


def kind_of(moment: Moment) -> Kind:
    """Return the kind of a moment."""
    return KINDS.get(type(moment.event), PLAIN)


def marks(view: TrainingState) -> list[Mark]:
    """Return the marks of a training by position; those of one place are one mark, the gravest's.

    A training with more than MOST_MARKS of them keeps the gravest, and of those the newest.
    """
    places: dict[float, list[Moment]] = {}
    for moment in view.moments:
        if kind_of(moment) in DRAWN:
            places.setdefault(_place(moment), []).append(moment)
    found = [_mark(view, position, moments) for position, moments in places.items()]
    found.sort(key=lambda mark: (mark.kind.weight, mark.position), reverse=True)
    return sorted(found[:MOST_MARKS], key=lambda mark: mark.position)


def shown_kinds(found: Iterable[Mark]) -> list[Kind]:
    """Return the kinds that a legend must explain, the gravest first."""
    return sorted({mark.kind for mark in found}, key=lambda kind: -kind.weight)


def _place(moment: Moment) -> float:
    event = moment.event
    return float(event.round) if isinstance(event, e.TrainingResumed) else moment.position


def _mark(view: TrainingState, position: float, moments: list[Moment]) -> Mark:
    gravest = max((kind_of(moment) for moment in moments), key=lambda kind: kind.weight)
    texts = (describe(moment.entry, view) for moment in moments)
    return Mark(position, gravest, tuple(text for text in texts if text))
