"""How a training begins, ends and fails."""

from typing import TYPE_CHECKING

from oneflower.codes import Phase
from oneflower.journal.events import (
    AppFailed,
    Entry,
    ResourcesShort,
    SettingsUsed,
    TrainingBegun,
    TrainingFailed,
    TrainingFinished,
    TrainingResumed,
    TrainingSaving,
    TrainingStarted,
    TrainingWentBack,
)
from oneflower.journal.state.clients import starts_again
from oneflower.journal.state.marks import mark
from oneflower.journal.state.measured import forget_measured
from oneflower.kinds import ErrorKind
from oneflower.quality import BestSoFar, Wanted, wanted_or_automatic

if TYPE_CHECKING:
    from oneflower.journal.state.training import TrainingState


def started(state: "TrainingState", event: TrainingStarted, entry: Entry) -> None:
    """Begin from nothing: whatever was trained before is no part of this model."""
    if state.finished_before:
        for kept in (state.undone, state.moments, state.roster):
            kept.clear()
    else:
        _undo(state, 0)
    for lost in (
        state.rounds,
        state.checkpoints,
        state.left_out,
        state.absent,
        state.resumed_after,
        state.aggregated,
    ):
        lost.clear()
    state.went_back = None
    state.bounded.clear()
    forget_measured(state, 0)
    _begin(state, event, entry)


def resumed(state: "TrainingState", event: TrainingResumed, entry: Entry) -> None:
    """Go on after a checkpoint: the rounds after it are trained again."""
    _return_to(state, event.round)
    state.resumes += 1
    _begin(state, event, entry)


def went_back(state: "TrainingState", event: TrainingWentBack, entry: Entry) -> None:
    """Go on after an earlier checkpoint, in the same run: the model of a round could not be trained from."""
    mark(state, entry)
    _return_to(state, event.to)
    state.went_back = event
    state.started_round, state.clients, state.replies = 0, 0, 0
    state.answered.clear()
    state.evaluated.clear()
    _rank(state, state.leaders.wanted)


def _return_to(state: "TrainingState", after: int) -> None:
    _undo(state, after)
    state.resumed_after.append(after)
    forget_measured(state, after)
    for kept in (state.checkpoints, state.absent, state.aggregated):
        for number in [number for number in kept if number > after]:
            del kept[number]


def _undo(state: "TrainingState", after: int) -> None:
    for number in [number for number in state.rounds if number > after]:
        state.undone.append(state.rounds.pop(number))


def _begin(state: "TrainingState", event: TrainingBegun, entry: Entry) -> None:
    state.strategy, state.app, state.parameters = event.strategy, event.app, event.parameters
    state.total = event.rounds
    state.waiting, state.failure, state.saving, state.finish, state.short = None, None, None, None, None
    state.finished_before = False
    state.began, state.has_begun, state.phase = entry.time, True, Phase.STARTING
    state.started_round, state.clients, state.replies = 0, 0, 0
    state.answered.clear()
    state.evaluated.clear()
    starts_again(state)
    _rank(state, wanted_or_automatic(event.best_metric))
    mark(state, entry)


def _rank(state: "TrainingState", wanted: Wanted) -> None:
    state.leaders = BestSoFar(wanted)
    for number, result in state.rounds.items():
        state.leaders.take(number, result.metrics)


def settings_used(state: "TrainingState", event: SettingsUsed, _entry: Entry) -> None:
    """Keep what the training was set to."""
    state.settings, state.environment = event.settings, event.environment


def short(state: "TrainingState", event: ResourcesShort, entry: Entry) -> None:
    """Keep what the server lacks, for as long as this run lasts."""
    state.short = event
    mark(state, entry)


def saving(state: "TrainingState", event: TrainingSaving, entry: Entry) -> None:
    """Note that the model of the last round is in memory alone."""
    state.phase, state.waiting, state.saving = Phase.SAVING, None, event
    mark(state, entry)


def finished(state: "TrainingState", event: TrainingFinished, entry: Entry) -> None:
    """End the training: its last round is done."""
    state.finish, state.finished_before, state.phase = event, True, Phase.FINISHED
    state.waiting, state.saving, state.checkpoint_failure, state.failure = None, None, None, None
    mark(state, entry)


def failed(state: "TrainingState", event: TrainingFailed, entry: Entry) -> None:
    """End the run with an error that oneflower knows."""
    state.finish, state.saving = None, None
    _fail(state, event, event.kind)
    mark(state, entry)


def app_failed(state: "TrainingState", event: AppFailed, entry: Entry) -> None:
    """End the run with an exception of the app's own."""
    _fail(state, event, event.kind or ErrorKind.APP)
    mark(state, entry)


def _fail(state: "TrainingState", event: TrainingFailed | AppFailed, kind: ErrorKind | None) -> None:
    """Take a failure for final, unless a supervisor starts the run again."""
    state.waiting = None
    if state.current.supervised and kind in (ErrorKind.APP, ErrorKind.ENVIRONMENT):
        state.supervisor_reason, state.failure, state.phase = event.words, None, Phase.RESTARTING
    else:
        state.failure, state.phase = event, Phase.FAILED
