"""What the supervisor does, and the processes that it looks after."""

from typing import TYPE_CHECKING, Final

from oneflower.codes import KEY_ALARMS, STILL, Phase, SupervisorState
from oneflower.journal.events import (
    AppUnusable,
    ClusterStarted,
    Entry,
    Event,
    JoinRefused,
    RunLetGo,
    RunLost,
    RunSubmitted,
    SupervisorMoved,
    TrainingGaveUp,
    TrainingInterrupted,
)
from oneflower.journal.state.clients import starts_again
from oneflower.journal.state.marks import mark

if TYPE_CHECKING:
    from oneflower.journal.state.training import TrainingState

# With these a training begins again that had ended, or begins at all.
_BEGINNINGS: Final = frozenset({SupervisorState.WAITING, SupervisorState.SUBMITTING})


def nothing(_state: "TrainingState", _event: Event, _entry: Entry) -> None:
    """Reduce an event that the state does not depend on."""


def refused(state: "TrainingState", event: JoinRefused, entry: Entry) -> None:
    """Count refused SuperNodes, and keep what may be theft of a key until the journal ends."""
    state.refused[event.code] += event.count
    if event.code in KEY_ALARMS:
        state.key_alarms[event.vm or event.key] = event
        mark(state, entry)


def moved(state: "TrainingState", event: SupervisorMoved, entry: Entry) -> None:
    """Follow the supervisor; it may be killed before it writes how the training ended."""
    state.supervisor, state.supervisor_reason = event.state, event.reason
    state.supervisor_since = entry.time
    if event.state in _BEGINNINGS and state.phase in STILL:
        state.phase, state.failure = Phase.STARTING, None
    elif event.state is SupervisorState.FINISHED:
        state.phase, state.waiting, state.failure = Phase.FINISHED, None, None
    elif event.state is SupervisorState.GIVEN_UP and state.failure is None:
        _give_up(state, TrainingGaveUp(reason=event.reason))


def submitted(state: "TrainingState", _event: RunSubmitted, _entry: Entry) -> None:
    """Begin a run: what ended before is not the end."""
    state.phase, state.has_begun, state.failure, state.finish = Phase.STARTING, False, None, None
    starts_again(state)


def let_go(state: "TrainingState", _event: RunLetGo, entry: Entry) -> None:
    """Go on without a supervisor: the run is its submitter's alone."""
    state.supervisor, state.supervisor_reason, state.supervisor_since = None, "", None
    mark(state, entry)


def unusable(state: "TrainingState", event: AppUnusable, entry: Entry) -> None:
    """Fail before a run: what is to be trained is not there, or is no app."""
    state.failure, state.waiting, state.phase = event, None, Phase.FAILED
    mark(state, entry)


def cluster_started(state: "TrainingState", _event: ClusterStarted, entry: Entry) -> None:
    """Note that the cluster is up."""
    state.phase, state.failure = Phase.STARTING, None
    starts_again(state)
    mark(state, entry)


def interrupted(state: "TrainingState", _event: TrainingInterrupted, entry: Entry) -> None:
    """End the work without an end of the training: whoever started it has ended it."""
    interrupt(state)
    mark(state, entry)


def interrupt(state: "TrainingState") -> None:
    """Take the training and its clients for stopped; one that has ended, or not begun, stays what it is."""
    if state.phase in STILL:
        return
    state.phase = Phase.INTERRUPTED if state.finish is None else Phase.FINISHED
    state.waiting, state.saving = None, None
    state.supervisor, state.supervisor_reason, state.supervisor_since = None, "", None
    starts_again(state)


def lost(state: "TrainingState", event: RunLost, entry: Entry) -> None:
    """Note a loss; the run is submitted again."""
    state.restarts += 1
    state.losses_in_a_row, state.delay_s = event.restarts, event.delay_s
    state.failure, state.waiting, state.phase = None, None, Phase.RESTARTING
    mark(state, entry)


def gave_up(state: "TrainingState", event: TrainingGaveUp, entry: Entry) -> None:
    """End the training: the supervisor stops trying."""
    _give_up(state, event)
    mark(state, entry)


def _give_up(state: "TrainingState", event: TrainingGaveUp) -> None:
    state.failure, state.waiting, state.saving, state.phase = event, None, None, Phase.FAILED
