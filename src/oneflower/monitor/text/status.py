"""What an operator wants to know of a training on one screen, as lines of text."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Final

from oneflower.codes import STOPPED, Phase, text
from oneflower.foreign_text import printable
from oneflower.journal import TrainingState
from oneflower.monitor.state.standing import connected
from oneflower.monitor.state.supervision import AWAITED, silence_s, supervision
from oneflower.monitor.text.gpus import gpu_rows
from oneflower.monitor.text.outliers import outlier_rows
from oneflower.monitor.text.own_loop import loop_rows
from oneflower.monitor.text.values import (
    best_name,
    called,
    duration,
    final_rows,
    headline_of,
    journal_problems,
    metric_text,
    metrics_text,
    name_and_partition,
    saving_text,
    size,
    strategy_text,
    waiting_text,
)
from oneflower.words import counted

MOST_LEFT_OUT: Final = 5
MOST_NAMES: Final = 8
NAME_WIDTH: Final = 32
BAR_WIDTH: Final = 30


def waiting_for(state: TrainingState) -> str:
    """Say what has to happen for the training to go on; empty when nothing is left to happen."""
    if state.phase in STOPPED:
        return ""
    if state.waiting:
        return f"clients: {waiting_text(state.waiting)}"
    if state.phase is Phase.TRAINING:
        updates = f"the updates of {counted(max(0, state.clients - state.replies), 'client')}"
        return updates if state.own_loop is None else "the replies to the app's messages"
    if state.phase is Phase.SAVING and state.saving:
        return f"the disk to take {saving_text(state.saving)}"
    supervisor = supervision(state)
    awaited = None if supervisor is None else AWAITED.get(supervisor.state)
    if awaited and supervisor:
        return f"{awaited} ({supervisor.reason})" if supervisor.reason else awaited
    reason = f" ({state.supervisor_reason})" if state.supervisor_reason else ""
    return {
        Phase.EVALUATING: "the clients' evaluation",
        Phase.NOTHING: "the first event",
        Phase.STARTING: "the ServerApp to start",
        Phase.RESTARTING: f"the ServerApp to start again{reason}",
    }.get(state.phase, "the next round")


def lines(state: TrainingState, now: datetime) -> Iterator[tuple[str, str]]:
    """Yield the status as a label and a text each; a label is empty where the line above continues."""
    for name, words in _lines(state, now):
        yield name, printable(words)


def _lines(state: TrainingState, now: datetime) -> Iterator[tuple[str, str]]:
    yield from _journal_lines(state)
    unnamed = "its beginning is not in the journal" if state.rounds else "not started yet"
    yield (
        "training",
        ", ".join(filter(None, (state.app, strategy_text(state.strategy, state.parameters))))
        if state.app
        else unnamed,
    )
    yield from _done_lines(state)
    yield "now", _now(state)
    if state.failure:
        yield "failed", state.failure.words
    if waiting := waiting_for(state):
        yield "waiting for", waiting
    if metrics := headline_of(state, state.done):
        yield "result", f"{metrics_text(metrics)} after round {state.done}"
    if best := state.best():
        yield "best", f"{best_name(state, best.metric)} {metric_text(best.value)} after round {best.round}"
    if state.short and state.phase not in STOPPED:
        yield "too small", state.short.reason
    yield "connected", _names([name_and_partition(client) for client in connected(state)])
    if state.parts:
        yield "parts", f"{_names([str(part) for part in state.parts])} (VM ids, from part 0 on)"
    yield from _left_out_lines(state)
    yield from _refused_lines(state)
    yield from _bounded_lines(state)
    yield from outlier_rows(state)
    yield from gpu_rows(state)
    yield from _checkpoint_lines(state, now)
    tries = "" if state.own_loop is not None else f", failed attempts of a round: {state.failed_rounds}"
    yield "restarts", f"{state.restarts}{tries}"
    if supervisor := supervision(state):
        reason = f" ({supervisor.reason})" if supervisor.reason else ""
        yield "supervisor", f"{text(supervisor.state)}: {supervisor.doing}{reason}"
    if state.finish is not None:
        yield from final_rows(state.finish, lost=state.lost_files)
    if state.last_time is not None:
        yield (
            "last event",
            f"{duration(max(0.0, (now - state.last_time).total_seconds()))} ago{_silence(state, now)}",
        )


def _journal_lines(state: TrainingState) -> Iterator[tuple[str, str]]:
    if state.trouble:
        yield "journal", f"cannot be read: {state.trouble}; what follows was known before"
    for what, detail in journal_problems(state):
        yield "journal", f"{what} {detail}"


def _silence(state: TrainingState, now: datetime) -> str:
    silent = silence_s(state, now)
    return "" if silent is None else ": longer than usual; see whether its processes run"


def _done_lines(state: TrainingState) -> Iterator[tuple[str, str]]:
    if state.own_loop is None:
        yield "rounds", _rounds(state)
    if state.loop is not None:
        yield from loop_rows(state.loop)


def _checkpoint_lines(state: TrainingState, now: datetime) -> Iterator[tuple[str, str]]:
    if state.own_loop is None:
        yield "checkpoint", _checkpoint(state, now)


def _rounds(state: TrainingState) -> str:
    if not state.total:
        return "not known yet"
    filled = BAR_WIDTH * min(state.done, state.total) // state.total
    left_s = None if state.phase in STOPPED else state.left_s()
    left = "" if left_s is None else f", about {duration(left_s)} left"
    return f"{state.done} of {state.total} [{'#' * filled}{'.' * (BAR_WIDTH - filled)}]{left}"


def _now(state: TrainingState) -> str:
    if state.phase is Phase.INTERRUPTED:
        running = state.started_round > state.done
        where = f" in round {state.started_round}" if running else ""
        return f"not running (interrupted{where}): run the same command to resume"
    return f"{text(state.phase)}{_round_now(state)}"


def _round_now(state: TrainingState) -> str:
    if state.started_round <= state.done:
        return ""
    again = f", attempt {state.attempt}" if state.attempt > 1 else ""
    return f", round {state.started_round}{again}: {state.replies} of {state.clients} have trained"


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(name[:NAME_WIDTH] for name in names[:MOST_NAMES])
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{len(names)}{f': {shown}{more}' if names else ''}"


def _left_out_lines(state: TrainingState) -> Iterator[tuple[str, str]]:
    name, unit = "left out", "round" if state.own_loop is None else "exchange"
    for each in state.left_out[-MOST_LEFT_OUT:]:
        who = called(state, each.client)[:NAME_WIDTH]
        yield name, f"{unit} {each.number}: {who} {each.outcome}: {each.reason}"
        name = ""
    hidden = len(state.left_out) - MOST_LEFT_OUT
    if hidden > 0:
        yield "", f"and {hidden} before that; `oneflower logs` names them"


def _refused_lines(state: TrainingState) -> Iterator[tuple[str, str]]:
    for alarm in state.key_alarms.values():
        yield "key ALARM", alarm.reason
    if state.refused.total():
        counts = [f"{text(code)}: {count}" for code, count in state.refused.items()]
        yield "not let in", f"SuperNodes ({', '.join(counts)})"


def _bounded_lines(state: TrainingState) -> Iterator[tuple[str, str]]:
    if state.bounded:
        yield (
            "bounded",
            _names([f"{called(state, each)} in {counted(n, 'round')}" for each, n in state.bounded.items()]),
        )
    if back := state.went_back:
        yield "went back", f"once, from round {back.round} to round {back.to}: {back.reason}"


def _checkpoint(state: TrainingState, now: datetime) -> str:
    if state.checkpoint_failure:
        return f"NOT saved: {state.checkpoint_failure.reason}"
    saved = state.saved
    if saved is None:
        return "none"
    ago = "" if saved.time is None else f", {duration(max(0.0, (now - saved.time).total_seconds()))} ago"
    return f"round {saved.number}, {PurePath(saved.file).name}, {size(saved.size_bytes)}{ago}"
