"""What an operator wants to know of a training on one screen, as facts and as lines of text."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import PurePath
from typing import Any, Final

from oneflower.codes import Phase
from oneflower.journal import TrainingState
from oneflower.journal.state.records import LeftOut
from oneflower.journal.writer import plain
from oneflower.monitor.final import final_rows
from oneflower.monitor.lines import duration, metrics_text, printable, size
from oneflower.monitor.standing import Standing, standing
from oneflower.monitor.supervision import AWAITED, supervision

MOST_LEFT_OUT: Final = 5
MOST_NAMES: Final = 8
NAME_WIDTH: Final = 12
BAR_WIDTH: Final = 30
HERE: Final = frozenset({Standing.ANSWERED, Standing.WAITED_FOR, Standing.QUARANTINED})
FINAL: Final = ("round", "path", "sha256", "stopped", "because")
ENDED: Final = frozenset({Phase.FINISHED, Phase.FAILED})


def facts(view: TrainingState, now: datetime) -> dict[str, Any]:
    """Return the status as plain values; a number that is not known is None, times are seconds ago."""
    newest = view.checkpoints.get(max(view.checkpoints, default=0))
    best = view.best()
    return {
        "app": view.app,
        "strategy": view.strategy,
        "parameters": plain(view.parameters),
        "phase": view.phase.value,
        "supervisor": view.supervisor,
        "supervision": _supervision(view, now),
        "round": view.done,
        "rounds": view.total,
        "running_round": view.started_round if view.started_round > view.done else None,
        "attempt": view.attempt,
        "answered": view.replies,
        "asked": view.clients,
        "seconds_left": None if view.phase in ENDED else view.left_s(),
        "metrics": view.headline(view.done),
        "best": None if best is None else {"round": best[0], "metric": best[1], "value": best[2]},
        "connected": connected(view),
        "parts": view.parts,
        "left_out": [_left_out(each) for each in view.left_out[-MOST_LEFT_OUT:]],
        "left_out_total": len(view.left_out),
        "checkpoint": newest
        and {
            "round": newest.number,
            "file": newest.file,
            "bytes": newest.size_bytes,
            "sha256": newest.sha256,
            "seconds_ago": _ago(newest.time, now),
        },
        "checkpoint_failure": view.checkpoint_failure,
        "restarts": view.restarts,
        "failed_rounds": view.failed_rounds,
        "waiting_for": waiting_for(view),
        "failure": view.failure,
        "sha256": (view.finish or {}).get("sha256"),
        "journal": {"trouble": view.trouble or None, "begins_with_round": view.first_told},
        "final": view.finish and {key: view.finish.get(key) for key in FINAL},
        "seconds_since_last_event": _ago(view.last_time, now),
    }


def connected(view: TrainingState) -> list[str]:
    """Return the names of the clients that are there, as far as the journal tells."""
    told = [client for client in view.roster.values() if client.connected is not None]
    if told:
        return sorted(client.name for client in told if client.connected)
    return sorted(client.name for client in view.roster.values() if standing(view, client) in HERE)


def waiting_for(view: TrainingState) -> str:
    """Say what has to happen for the training to go on; empty when nothing is left to happen."""
    if view.phase in ENDED:
        return ""
    if view.waiting:
        return f"clients: {view.waiting}"
    if view.phase is Phase.TRAINING:
        return f"the updates of {max(0, view.clients - view.replies)} clients"
    reason = f" ({view.supervisor_reason})" if view.supervisor_reason else ""
    awaited, told = AWAITED.get(view.supervisor), supervision(view)
    if awaited and told:
        return f"{awaited} ({told.reason})" if told.reason else awaited
    return {
        Phase.EVALUATING: "the clients' evaluation",
        Phase.SAVING: f"the disk to take {view.saving}",
        Phase.NOTHING: "the first event",
        Phase.STARTING: "the ServerApp to start",
        Phase.RESTARTING: f"the ServerApp to start again{reason}",
    }.get(view.phase, "the next round")


def lines(view: TrainingState, now: datetime) -> Iterator[tuple[str, str]]:
    """Yield the status as a label and a text each; a label is empty where the one above goes on."""
    for label, text in _lines(view, facts(view, now)):
        yield label, printable(text)


def _lines(view: TrainingState, known: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    parameters = ", ".join(f"{name} {value}" for name, value in known["parameters"].items())
    strategy = f"{known['strategy']}{f' ({parameters})' if parameters else ''}"
    yield from _journal_lines(view)
    unnamed = "its beginning is not in the journal" if view.rounds else "not started yet"
    yield "training", f"{known['app']}, {strategy}" if known["app"] else unnamed
    yield "rounds", _rounds(known)
    yield "now", f"{known['phase']}{_round_now(known)}"
    if known["failure"]:
        yield "failed", known["failure"]
    if known["waiting_for"]:
        yield "waiting for", known["waiting_for"]
    if known["metrics"]:
        yield "result", f"{metrics_text(known['metrics'])} after round {known['round']}"
    if known["best"]:
        best = known["best"]
        yield "best", f"{best['metric']} {best['value']:.4f} after round {best['round']}"
    yield "connected", _names(known["connected"])
    if known["parts"]:
        yield "parts", f"{_names(known['parts'])} (VM ids, from part 0 on)"
    yield from _left_out_lines(known)
    yield "checkpoint", _checkpoint(known)
    yield "restarts", f"{known['restarts']}, failed tries of a round: {known['failed_rounds']}"
    if known["supervision"]:
        yield "supervisor", _supervisor(known["supervision"])
    if known["final"]:
        yield from final_rows(known["final"])
    if known["seconds_since_last_event"] is not None:
        yield "last event", f"{duration(known['seconds_since_last_event'])} ago"


def _journal_lines(view: TrainingState) -> Iterator[tuple[str, str]]:
    if view.trouble:
        yield "journal", f"cannot be read: {view.trouble}; what follows was known before"
    if view.begins_late:
        yield "journal", f"begins with round {view.first_told}: counts are of what is in it"


def _supervision(view: TrainingState, now: datetime) -> dict[str, Any] | None:
    told = supervision(view)
    if told is None:
        return None
    return {
        "state": told.state,
        "doing": told.doing,
        "reason": told.reason,
        "seconds": _ago(told.since, now),
        "next_try_in_s": told.next_try and max(0.0, (told.next_try - now).total_seconds()),
        "restarts_in_a_row": view.losses_in_a_row,
    }


def _supervisor(told: Mapping[str, Any]) -> str:
    reason = f" ({told['reason']})" if told["reason"] else ""
    return f"{told['state']}: {told['doing']}{reason}"


def _rounds(known: Mapping[str, Any]) -> str:
    if not known["rounds"]:
        return "not known yet"
    filled = BAR_WIDTH * known["round"] // known["rounds"]
    left = "" if known["seconds_left"] is None else f", about {duration(known['seconds_left'])} left"
    bar = f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}]"
    return f"{known['round']} of {known['rounds']} {bar}{left}"


def _round_now(known: Mapping[str, Any]) -> str:
    if known["running_round"] is None:
        return ""
    again = f", try {known['attempt']}" if known["attempt"] > 1 else ""
    return f", round {known['running_round']}{again}: {known['answered']} of {known['asked']} have trained"


def _names(names: list[str]) -> str:
    shown = ", ".join(name[:NAME_WIDTH] for name in names[:MOST_NAMES])
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{len(names)}{f': {shown}{more}' if names else ''}"


def _left_out_lines(known: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    label = "left out"
    for each in known["left_out"]:
        yield label, f"round {each['round']}: {each['client'][:NAME_WIDTH]} {each['how']}: {each['reason']}"
        label = ""
    hidden = known["left_out_total"] - len(known["left_out"])
    if hidden:
        yield "", f"and {hidden} before that; `oneflower logs` names them"


def _checkpoint(known: Mapping[str, Any]) -> str:
    if known["checkpoint_failure"]:
        return f"NOT saved: {known['checkpoint_failure']}"
    saved = known["checkpoint"]
    if not saved:
        return "none"
    ago = "" if saved["seconds_ago"] is None else f", {duration(saved['seconds_ago'])} ago"
    return f"round {saved['round']}, {PurePath(saved['file']).name}, {size(saved['bytes'])}{ago}"


def _left_out(each: LeftOut) -> dict[str, Any]:
    return {"round": each.number, "client": each.client, "how": each.outcome, "reason": each.reason}


def _ago(time: datetime | None, now: datetime) -> float | None:
    return None if time is None else max(0.0, (now - time).total_seconds())
