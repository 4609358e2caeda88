"""Journal events as lines of text: one line an event, for the log, the progress and the timeline."""

import re
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, Final

from oneflower.codes import StallAct, Submitter, text
from oneflower.foreign_text import printable
from oneflower.journal import BrokenEvent, Entry, Event, TrainingState, UnknownEvent
from oneflower.journal import events as e
from oneflower.kinds import ErrorKind
from oneflower.monitor.text.values import (
    NOT_KEPT,
    called,
    clients_asked,
    duration,
    ending,
    headline_of,
    metrics_text,
    size,
    strategy_text,
    waiting_text,
)
from oneflower.words import are, counted

MOST_PARTS: Final = 8
_LINE_END: Final = re.compile(r"([.;:,]?)[ \t]*\n\s*")

WARNINGS: Final[frozenset[type[Event]]] = frozenset(
    {
        e.WaitingForClients,
        e.TrainingWentBack,
        e.ClientQuarantined,
        e.ClientBounded,
        e.ClientFailed,
        e.RoundFailed,
        e.CheckpointFailed,
        e.TrainingSaving,
        e.SettingsChanged,
        e.ResourcesShort,
        e.EvaluationUnavailable,
        e.MetricMissing,
        e.ClientStateKept,
        e.ClientStateLost,
        e.DeviceChanged,
        e.TrainingFailed,
        e.AppFailed,
        e.ProcessDied,
        e.ProcessStalled,
        e.JoinRefused,
        e.RunLost,
        e.ClientLeft,
        e.TrainingGaveUp,
        e.TrainingInterrupted,
        BrokenEvent,
    }
)


def describe(entry: Entry, state: TrainingState) -> str | None:
    """Return one line about an entry that ``state`` has taken already; None for one of no interest."""
    writer = _WRITERS.get(type(entry.event))
    return None if writer is None else printable(writer(entry.event, entry, state))


def one_line(text: str) -> str:
    r"""Write an error of several lines as one; `printable` would show each end of a line as ``\n``."""
    return _LINE_END.sub(lambda found: f"{found[1] or ';'} ", text.strip())


def _started(event: e.TrainingStarted, _entry: Entry, _state: TrainingState) -> str:
    return f"training starts: {_strategy(event)}, {counted(event.rounds, 'round')}"


def _resumed(event: e.TrainingResumed, _entry: Entry, _state: TrainingState) -> str:
    done = f"round {event.round} of {event.rounds}"
    return f"training resumes after {done}: {_strategy(event)}"


def _strategy(event: e.TrainingBegun) -> str:
    name = strategy_text(event.strategy or "?", event.parameters)
    return f"{name} (FL_STRATEGY) instead of the app's {event.replaces}" if event.replaces else name


def _left_out(event: e.ClientLeftOut, _entry: Entry, state: TrainingState) -> str:
    unit = "round" if state.loop is None or state.loop.finished else "exchange"
    return f"{unit} {event.round}: client {called(state, event.client)} left out: {event.reason}"


def _bounded(event: e.ClientBounded, _entry: Entry, state: TrainingState) -> str:
    return f"round {event.round}: client {called(state, event.client)} bounded: {event.reason}"


def _round_failed(event: e.RoundFailed, _entry: Entry, _state: TrainingState) -> str:
    then = "this was the last attempt" if event.tries_left == 0 else "the round is attempted again"
    what = f"round {event.round} failed (attempt {event.attempt}): {event.reason}"
    return f"{what}; the model is unchanged, {then}"


def _round_completed(event: e.RoundCompleted, _entry: Entry, state: TrainingState) -> str:
    parts = [
        f"round {event.round} of {state.total} done in {event.seconds:.1f} s",
        counted(event.valid, "update"),
    ]
    parts += [metrics_text(headline_of(state, event.round))]
    left_s = state.left_s()
    if left_s:
        parts += [f"about {duration(left_s)} left"]
    return ", ".join(filter(None, parts))


def _loop_started(event: e.LoopStarted, _entry: Entry, _state: TrainingState) -> str:
    recorded = f"their replies are recorded in {event.path}" if event.path else "nothing is recorded"
    again = (
        f"; {counted(event.recorded, 'recorded reply', 'recorded replies')} given again"
        if event.recorded
        else ""
    )
    return f"the app sends its messages by itself: {recorded}{again}"


def _exchanged(event: e.ExchangeCompleted, _entry: Entry, _state: TrainingState) -> str:
    asked = counted(event.messages, f"{event.kind} message")
    lost = {"failed": event.failed, "quarantined": event.quarantined, "silent": event.silent}
    replies = counted(event.replies, "reply", "replies")
    parts = [
        f"exchange {event.exchange}: {asked}",
        replies,
        *(f"{n} {word}" for word, n in lost.items() if n),
    ]
    return ", ".join(parts) + f" in {event.seconds:.1f} s"


def _finished(event: e.TrainingFinished, _entry: Entry, _state: TrainingState) -> str:
    not_kept = "" if event.path else f"; the model was {NOT_KEPT}"
    return f"training has finished: {ending(event)}{not_kept}"


def _checkpoint(event: e.CheckpointSaved, _entry: Entry, _state: TrainingState) -> str:
    return f"round {event.round}: checkpoint {PurePath(event.file).name} saved ({size(event.size_bytes)})"


def _lost(event: e.RunLost, _entry: Entry, _state: TrainingState) -> str:
    when = f"in {event.delay_s:.0f} s" if event.delay_s else "at once"
    return f"the run was lost ({one_line(event.reason)}): restart {event.restarts} {when}"


def _parts(event: e.PartsAssigned, _entry: Entry, _state: TrainingState) -> str:
    members = event.members
    shown = ", ".join(f"VM {member} {part}" for part, member in enumerate(members[:MOST_PARTS]))
    more = f" and {len(members) - MOST_PARTS} more" if len(members) > MOST_PARTS else ""
    return f"round {event.round}: {counted(len(members), 'part')} of the data: {shown}{more}"


def _stalled(event: e.ProcessStalled, _entry: Entry, _state: TrainingState) -> str:
    done = "continued" if event.done is StallAct.CONTINUED else "ended"
    return f"{event.role} did not move and was {done}: {event.reason}"


def _refused(event: e.JoinRefused, _entry: Entry, _state: TrainingState) -> str:
    subject = "a SuperNode was" if event.count == 1 else f"{event.count} SuperNodes were"
    return f"{subject} not let in: {event.reason}"


def _supervisor(event: e.SupervisorMoved, _entry: Entry, _state: TrainingState) -> str:
    return f"the supervisor is {text(event.state)}{_because(event.reason)}"


def _unknown(event: UnknownEvent, _entry: Entry, _state: TrainingState) -> str:
    return f"{event.kind}: an event of a later version, which is not shown here"


def _broken(event: BrokenEvent, _entry: Entry, _state: TrainingState) -> str:
    what = "a line" if event.lines == 1 else f"{event.lines} lines"
    return f"{what} of the journal cannot be read: {event.why}"


def _named(event: e.ClientNamed, _entry: Entry, _state: TrainingState) -> str:
    part = "" if event.partition is None else f", partition {event.partition}"
    return f"client {event.client} is {event.name}{part}"


def _joined(event: e.ClientJoined, _entry: Entry, state: TrainingState) -> str:
    return (
        f"client {called(state, event.client)} has joined: {event.connected} {are(event.connected)} connected"
    )


def _left(event: e.ClientLeft, _entry: Entry, state: TrainingState) -> str:
    return (
        f"client {called(state, event.client)} has left: {event.connected} {are(event.connected)} connected"
    )


def _submitted(event: e.RunSubmitted, entry: Entry, _state: TrainingState) -> str:
    if event.by is Submitter.PERSON:
        return f"run {entry.run} was submitted with `flwr run`: it is submitted again if it is lost"
    return f"the app is submitted to the SuperLink (run {entry.run})"


def _unusable(event: e.AppUnusable, _entry: Entry, _state: TrainingState) -> str:
    yet = " yet" if event.kind is ErrorKind.ENVIRONMENT else ""
    return f"nothing is submitted{yet}: {one_line(event.reason)}"


def _fields(template: str) -> Callable[[Any, Entry, TrainingState], str]:
    """Return a writer that fills an event's fields in."""
    return lambda event, _entry, _state: template.format(event=event)


def _because(reason: str) -> str:
    """Return what follows an event that may have a reason."""
    return f": {one_line(reason)}" if reason else ""


_WRITERS: Final[Mapping[type[Event], Callable[[Any, Entry, TrainingState], str]]] = {
    e.ClusterStarted: lambda event, _entry, _state: (
        f"the cluster is up: {counted(event.nodes, 'SuperNode')} {are(event.nodes)} online"
    ),
    e.TrainingStarted: _started,
    e.TrainingResumed: _resumed,
    e.WaitingForClients: lambda event, _entry, _state: f"waiting for clients: {waiting_text(event)}",
    e.PartsAssigned: _parts,
    e.RoundStarted: lambda event, _entry, _state: (
        f"round {event.round} of {event.rounds} starts with {clients_asked(event)}"
    ),
    e.ClientQuarantined: _left_out,
    e.ClientFailed: _left_out,
    e.ClientBounded: _bounded,
    e.TrainingWentBack: _fields(
        "the training went back from round {event.round} to round {event.to}: most clients cannot train from "
        "that model ({event.reason}). Its checkpoint is kept as rejected; the rounds after {event.to} are "
        "trained again"
    ),
    e.RoundFailed: _round_failed,
    e.RoundCompleted: _round_completed,
    e.CheckpointSaved: _checkpoint,
    e.CheckpointFailed: _fields(
        "round {event.round}: the checkpoint could not be saved: {event.reason}; the training continues"
    ),
    e.TrainingSaving: _fields(
        "round {event.round} is trained and NOT saved yet (attempt {event.attempt} of {event.tries}): "
        "{event.reason}; it is held in memory and saved again"
    ),
    e.SettingsChanged: lambda event, _entry, _state: (
        f"settings changed since round {event.round} was saved: {'; '.join(event.changes)}"
    ),
    e.ResourcesShort: _fields("the training needs more than this machine has: {event.reason}"),
    e.EvaluationUnavailable: _fields("round {event.round}: no client evaluates any more: {event.reason}"),
    e.ClientStateKept: lambda event, _entry, _state: (
        f"clients keep state of their own (context.state: {', '.join(event.records)})"
        + (
            " on their disks: a resumed training gives it back"
            if event.kept == "disk"
            else ": it is not in the checkpoints, and a resumed training starts it empty"
        )
    ),
    e.ClientStateLost: lambda event, _entry, _state: (
        f"the clients' own state (context.state: {', '.join(event.records)}) is lost with the run before: "
        "the training continues with it empty, and its result differs from that of an uninterrupted training"
        if not event.clients
        else f"{counted(len(event.clients), 'client')} continued without the state that they had, and the "
        f"result differs from that of an uninterrupted training: {event.reason}"
    ),
    e.DeviceChanged: lambda event, _entry, _state: (
        f"round {event.round}: {counted(event.clients, 'client')} {event.reason}"
    ),
    e.MetricMissing: _fields("no round is the best, and no early end: {event.reason}; see FL_BEST_METRIC"),
    e.LoopStarted: _loop_started,
    e.ExchangeCompleted: _exchanged,
    e.RecordingStopped: _fields("replies are not recorded from exchange {event.exchange} on: {event.reason}"),
    e.LoopFinished: lambda event, _entry, _state: (
        f"the app has finished after {counted(event.exchanges, 'exchange')} of its own; its model is where "
        "the app keeps it"
    ),
    e.TrainingFinished: _finished,
    e.TrainingFailed: lambda event, _entry, _state: f"training has failed{_because(event.reason)}",
    e.AppFailed: lambda event, _entry, _state: one_line(event.words),
    e.TrainingInterrupted: _fields("the training was interrupted: run the same command to resume"),
    e.RunLost: _lost,
    e.ProcessDied: _fields("{event.role} has ended: {event.reason}; it is restarted"),
    e.ProcessStarted: _fields("{event.role} is running again"),
    e.ProcessStalled: _stalled,
    e.JoinRefused: _refused,
    e.ClientNamed: _named,
    e.ClientJoined: _joined,
    e.ClientLeft: _left,
    e.RunSubmitted: _submitted,
    e.RunLetGo: lambda _event, entry, _state: (
        f"the supervisor lets go of run {entry.run}: it is not submitted again"
    ),
    e.AppUnusable: _unusable,
    e.SupervisorMoved: _supervisor,
    e.TrainingGaveUp: lambda event, _entry, _state: (
        f"the supervisor gave up after {counted(event.restarts, 'restart')}{_because(event.reason)}"
    ),
    UnknownEvent: _unknown,
    BrokenEvent: _broken,
}
