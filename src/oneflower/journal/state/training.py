"""The state of a training: what the events of its journal reduce to, for all that show it or decide by it."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from oneflower.codes import LeftOutCode, Outcome, Phase, RefusalCode, SupervisorState
from oneflower.journal.events import (
    AppFailed,
    AppUnusable,
    BrokenEvent,
    CheckpointFailed,
    Entry,
    JoinRefused,
    ResourcesShort,
    Scalar,
    SettingRow,
    TrainingFailed,
    TrainingFinished,
    TrainingGaveUp,
    TrainingSaving,
    TrainingWentBack,
    WaitingForClients,
)
from oneflower.journal.owners import Current
from oneflower.journal.state.records import (
    Aggregated,
    Client,
    LeftOut,
    Moment,
    OwnLoop,
    RoundResult,
    SavedCheckpoint,
)
from oneflower.journal.state.reducers import REDUCERS
from oneflower.journal.state.supervision import interrupt
from oneflower.quality import Best, BestSoFar, Measure, Wanted, in_order

# Time left is told from the pace of the last rounds.
PACE_ROUNDS: Final = 5
# A journal may name any number of rounds; 31 years from now is still a date.
MOST_LEFT_S: Final = 1e9
# A journal may hold years of a service; a page shows the newest of it.
MOST_MOMENTS: Final = 500

Failure = TrainingFailed | AppFailed | AppUnusable | TrainingGaveUp


@dataclass(slots=True)
class TrainingState:
    """The state of a training: ``take`` the entries of its journal in order. Nothing else changes it.

    A training that starts from round 1 again forgets what was before; one that resumes after round k
    forgets the rounds after k, which are trained again. ``undone`` keeps the lost rounds for the picture.

    Attributes
    ----------
    most_rounds
        Only so many of the newest rounds and checkpoints are kept; None keeps all.
    trouble
        Why the journal cannot be read just now; set by whoever reads it. Then this is what was known before.
    lost_files
        Files of checkpoints that the journal names and that are not there any more; set by whoever looks.
    rounds, checkpoints, roster
        By their number or Flower's id.
    names
        What each of Flower's ids, those of earlier starts too, calls itself.
    began, has_begun
        When the training began last, and whether the run that was submitted last has begun it.
    absent
        For a round the clients that are not in its model, with how that came.
    aggregated
        Rounds that were aggregated and are not logged as completed.
    answered, evaluated, drawn
        Of the round that runs: who has trained, in how many seconds, who has evaluated, and who was drawn to
        train; nobody where all are asked.
    refused, key_alarms
        SuperNodes that were not let in, by the reason; of those that may mean a stolen key the last, by VM
        or key.
    bounded
        In how many rounds a client, by Flower's id, was given less weight or a smaller change than it sent.
    loop
        What an app has done that sends its messages by itself; None for one that does not.
    gpu_series
        The labels of the GPUs' metrics, in the order in which they were given, with the client that has it or
        goes on for the one that had it.
    renamed
        Flower's ids that have called themselves something else, or have had another part of the data.
    parts
        The VM ids by the part of the data that they have.
    unknown, broken, last_broken
        Events of a later version by name, and lines that are no event: they are counted, never applied.
    """

    most_rounds: int | None = None
    trouble: str = ""
    lost_files: frozenset[str] = frozenset()
    current: Current = field(default_factory=Current)

    events: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    broken: int = 0
    last_broken: BrokenEvent | None = None
    first_time: datetime | None = None
    last_time: datetime | None = None

    app: str = ""
    strategy: str = ""
    parameters: Mapping[str, Scalar] = field(default_factory=dict)
    settings: tuple[SettingRow, ...] = ()
    environment: Mapping[str, Scalar] = field(default_factory=dict)
    total: int = 0

    phase: Phase = Phase.NOTHING
    began: datetime | None = None
    has_begun: bool = False
    waiting: WaitingForClients | None = None
    saving: TrainingSaving | None = None
    short: ResourcesShort | None = None
    failure: Failure | None = None
    finish: TrainingFinished | None = None
    finished_before: bool = False

    started_round: int = 0
    attempt: int = 1
    round_began: datetime | None = None
    clients: int = 0
    replies: int = 0
    answered: dict[str, float] = field(default_factory=dict)
    evaluated: set[str] = field(default_factory=set)
    drawn: set[str] = field(default_factory=set)
    aggregated: dict[int, Aggregated] = field(default_factory=dict)
    aggregation_s: float | None = None
    failed_rounds: int = 0

    rounds: dict[int, RoundResult] = field(default_factory=dict)
    undone: list[RoundResult] = field(default_factory=list)
    resumed_after: list[int] = field(default_factory=list)
    resumes: int = 0
    went_back: TrainingWentBack | None = None

    checkpoints: dict[int, SavedCheckpoint] = field(default_factory=dict)
    failed_checkpoints: int = 0
    checkpoint_failure: CheckpointFailed | None = None

    roster: dict[str, Client] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    parts: tuple[int, ...] = ()
    left_out: list[LeftOut] = field(default_factory=list)
    absent: dict[int, dict[str, Outcome]] = field(default_factory=dict)
    failures: Counter[LeftOutCode] = field(default_factory=Counter)
    quarantines: Counter[LeftOutCode] = field(default_factory=Counter)
    bounded: Counter[str] = field(default_factory=Counter)
    gpu_series: dict[str, str] = field(default_factory=dict)
    renamed: set[str] = field(default_factory=set)

    refused: Counter[RefusalCode] = field(default_factory=Counter)
    key_alarms: dict[str, JoinRefused] = field(default_factory=dict)

    loop: OwnLoop | None = None

    supervisor: SupervisorState | None = None
    supervisor_reason: str = ""
    supervisor_since: datetime | None = None
    restarts: int = 0
    losses_in_a_row: int = 0
    delay_s: float = 0.0

    moments: deque[Moment] = field(default_factory=lambda: deque(maxlen=MOST_MOMENTS))
    leaders: BestSoFar = field(default_factory=BestSoFar)

    def take(self, entry: Entry) -> bool:
        """Reduce one entry into the state.

        Returns
        -------
        bool
            Whether it is of this training; an event of another run in the same journal is not.
        """
        if not self.current.takes(entry):
            return False
        self.events += 1
        time = entry.time
        if time is not None:
            self.last_time = time
            if self.first_time is None:
                self.first_time = time
        REDUCERS[type(entry.event)](self, entry.event, entry)
        return True

    @property
    def own_loop(self) -> OwnLoop | None:
        """What the app does that sends its messages by itself; None for a training in rounds."""
        return None if self.total else self.loop

    @property
    def quality(self) -> Wanted:
        """Which metric says how good a round is."""
        return self.leaders.wanted

    @property
    def first_told(self) -> int:
        """The first round that the journal logs as completed; 1 before any."""
        return min(self.rounds, default=1)

    @property
    def begins_late(self) -> bool:
        """Whether earlier rounds were rotated out; the journal of a new folder begins with a resume."""
        return self.first_told > 1 and self.first_told - 1 not in self.resumed_after

    @property
    def done(self) -> int:
        """The last completed round, 0 before the first."""
        return max(self.rounds, default=0)

    @property
    def saved(self) -> SavedCheckpoint | None:
        """The newest checkpoint whose file is not known to be lost."""
        there = (each for each in self.checkpoints.values() if each.file not in self.lost_files)
        return max(there, key=lambda each: each.number, default=None)

    @property
    def newest_round(self) -> int:
        """The round that the training stands on: the last one completed, or the one that it resumed after."""
        return max(self.done, *self.resumed_after[-1:], 0)

    def left_s(self) -> float | None:
        """Estimate the seconds to the end from the pace of the last rounds; None without any."""
        recent = [self.rounds[number].seconds for number in sorted(self.rounds)[-PACE_ROUNDS:]]
        if not recent or not self.total:
            return None
        left_s = sum(recent) / len(recent) * max(0, self.total - self.done)
        return min(max(0.0, left_s), MOST_LEFT_S)

    def measures(self) -> list[Measure]:
        """Return everything that was measured, the most telling origin first."""
        return in_order({each for result in self.rounds.values() for each in result.metrics})

    def best(self) -> Best | None:
        """Return the best round by FL_BEST_METRIC, else by the most telling metric; None where none says."""
        return self.leaders.best()


def interrupted(state: TrainingState) -> TrainingState:
    """Return the state as it is when whoever trained has ended; the one that is followed stays as it is."""
    copied = replace(state, roster={name: replace(client) for name, client in state.roster.items()})
    interrupt(copied)
    return copied


def reduce(entries: Iterable[Entry], *, most_rounds: int | None = None) -> TrainingState:
    """Return the state that a whole journal reduces to."""
    state = TrainingState(most_rounds=most_rounds)
    for entry in entries:
        state.take(entry)
    return state
