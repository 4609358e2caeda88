"""What each event changes in the state of a training; there is one reducer for every event."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from oneflower.journal import events as e
from oneflower.journal.state import clients, course, gpus, loops, rounds, supervision
from oneflower.journal.state.marks import mark_only
from oneflower.journal.state.measured import measured

if TYPE_CHECKING:
    from oneflower.journal.state.training import TrainingState

Reducer = Callable[["TrainingState", Any, e.Entry], None]


def _count_unknown(state: "TrainingState", event: e.UnknownEvent, _entry: e.Entry) -> None:
    state.unknown[event.kind] += 1


def _count_broken(state: "TrainingState", event: e.BrokenEvent, _entry: e.Entry) -> None:
    state.broken += event.lines
    state.last_broken = event


REDUCERS: Final[Mapping[type[e.Event], Reducer]] = {
    e.UnknownEvent: _count_unknown,
    e.BrokenEvent: _count_broken,
    e.TrainingStarted: course.started,
    e.TrainingResumed: course.resumed,
    e.TrainingWentBack: course.went_back,
    e.SettingsUsed: course.settings_used,
    e.SettingsChanged: mark_only,
    e.ResourcesShort: course.short,
    e.TrainingSaving: course.saving,
    e.TrainingFinished: course.finished,
    e.TrainingFailed: course.failed,
    e.AppFailed: course.app_failed,
    e.RoundStarted: rounds.started,
    e.ClientsSampled: rounds.sampled,
    e.RoundFailed: rounds.failed,
    e.RoundAggregated: rounds.aggregated,
    e.UpdatesMeasured: measured,
    e.RoundCompleted: rounds.completed,
    e.EvaluationUnavailable: mark_only,
    e.MetricMissing: mark_only,
    e.LoopStarted: loops.started,
    e.ExchangeCompleted: loops.exchanged,
    e.RecordingStopped: loops.stopped,
    e.LoopFinished: loops.finished,
    e.CheckpointSaved: rounds.checkpoint_saved,
    e.CheckpointFailed: rounds.checkpoint_failed,
    e.WaitingForClients: clients.waiting,
    e.ClientJoined: clients.joined,
    e.ClientLeft: clients.left,
    e.ClientNamed: clients.named,
    e.PartsAssigned: clients.parts_assigned,
    e.ReplyReceived: clients.replied,
    e.ClientQuarantined: clients.quarantined,
    e.ClientBounded: clients.bounded,
    e.ClientFailed: clients.failed,
    e.ClientStateKept: mark_only,
    e.ClientStateLost: mark_only,
    e.GpuSeen: gpus.seen,
    e.DeviceChanged: mark_only,
    e.TrainingInterrupted: supervision.interrupted,
    e.ClusterStarted: supervision.cluster_started,
    e.ProcessDied: mark_only,
    e.ProcessStarted: mark_only,
    e.ProcessStalled: supervision.nothing,
    e.JoinRefused: supervision.refused,
    e.SupervisorMoved: supervision.moved,
    e.RunSubmitted: supervision.submitted,
    e.RunLetGo: supervision.let_go,
    e.AppUnusable: supervision.unusable,
    e.RunLost: supervision.lost,
    e.TrainingGaveUp: supervision.gave_up,
}
