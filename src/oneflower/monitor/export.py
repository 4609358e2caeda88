"""A training as JSON, for programs: one document for `status --json`, the report and the page."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from math import isfinite
from typing import Any, Final

from oneflower.codes import STOPPED
from oneflower.gpu.readings import record_of as record_of_reading
from oneflower.journal import TrainingState
from oneflower.journal.codec import record_of
from oneflower.journal.state import ClientGpus, Course, outliers
from oneflower.journal.state.records import Client, LeftOut, Moment, RoundResult
from oneflower.monitor.state.safety import Safety
from oneflower.monitor.state.standing import connected, standing
from oneflower.monitor.state.supervision import supervision
from oneflower.monitor.text.status import waiting_for
from oneflower.monitor.text.values import called, headline_of
from oneflower.quality import label

SCHEMA: Final = 2
MOST_LEFT_OUT: Final = 5
"""How many of the clients that were left out the short document holds, the newest."""


def short_document(state: TrainingState, now: datetime) -> dict[str, Any]:
    """Return what `oneflower status` shows as JSON values. Times are ISO 8601 in UTC, sizes bytes."""
    document: dict[str, Any] = _plain(_short(state, now))
    return document


def full_document(state: TrainingState, now: datetime, safety: Safety | None = None) -> dict[str, Any]:
    """Return the same, with every round, client, moment and setting: what the report shows."""
    hidden = ("v", "time")
    document: dict[str, Any] = _plain(
        {
            **_short(state, now, most_left_out=None),
            "rounds": [_round(result) for _, result in sorted(state.rounds.items())],
            "lost_rounds": [_round(result) for result in state.undone],
            "clients": [_client(state, client) for client in state.roster.values()],
            "checkpoints": asdict(safety) if safety else None,
            "timeline": [_moment(each, hidden) for each in state.moments],
            "settings": [asdict(row) for row in state.settings],
            "environment": dict(state.environment),
        }
    )
    return document


def _short(
    state: TrainingState, now: datetime, *, most_left_out: int | None = MOST_LEFT_OUT
) -> dict[str, Any]:
    left_out = state.left_out if most_left_out is None else state.left_out[-most_left_out:]
    back = state.went_back
    return {
        "schema": SCHEMA,
        "training": _training(state, now),
        "supervisor": _supervisor(state),
        "journal": {
            "trouble": state.trouble or None,
            "begins_with_round": state.first_told,
            "broken_lines": state.broken,
            "last_broken": state.last_broken and state.last_broken.why,
            "unknown_events": dict(state.unknown),
        },
        "counts": {
            "restarts": state.restarts,
            "resumes": state.resumes,
            "failed_rounds": state.failed_rounds,
            "failed_checkpoints": state.failed_checkpoints,
            "left_out": len(state.left_out),
            "failures": {code.value: count for code, count in state.failures.items()},
            "quarantines": {code.value: count for code, count in state.quarantines.items()},
            "bounded": state.bounded.total(),
            "refused_joins": {code.value: count for code, count in state.refused.items()},
        },
        "resources_short": state.short and asdict(state.short),
        "went_back": back and {"round": back.round, "to": back.to, "reason": back.reason},
        "connected": [client.shown for client in connected(state)],
        "parts": state.parts,
        "left_out": [_left_out(state, each) for each in left_out],
        "outliers": [_outlier(each) for each in outliers(state)],
        "checkpoint": _checkpoint(state),
    }


def _training(state: TrainingState, now: datetime) -> dict[str, Any]:
    best, finish = state.best(), state.finish
    return {
        "app": state.app,
        "strategy": state.strategy,
        "parameters": dict(state.parameters),
        "phase": state.phase,
        "round": state.done,
        "rounds": state.total,
        "running_round": state.started_round if state.started_round > state.done else None,
        "attempt": state.attempt,
        "answered": state.replies,
        "asked": state.clients,
        "began": state.first_time,
        "last_event": state.last_time,
        "last_event_age_seconds": state.last_time and max(0.0, (now - state.last_time).total_seconds()),
        "time_left_seconds": None if state.phase in STOPPED else state.left_s(),
        "waiting_for": waiting_for(state) or None,
        "waiting_for_clients": state.waiting and asdict(state.waiting),
        "saving": state.saving and asdict(state.saving),
        "best": best
        and {
            "round": best.round,
            "metric": label(best.metric),
            "measure": best.metric.text,
            "value": best.value,
        },
        "metrics": headline_of(state, state.done),
        "finish": finish
        and {
            "round": finish.round,
            "path": None if finish.path in state.lost_files else finish.path,
            "sha256": finish.sha256 or None,
            "stopped": finish.stopped,
            "because": finish.because,
        },
        "own_loop": state.own_loop and asdict(state.own_loop),
        "failure": state.failure.words if state.failure else None,
    }


def _supervisor(state: TrainingState) -> dict[str, Any] | None:
    supervisor = supervision(state)
    if supervisor is None:
        return None
    return {
        "state": supervisor.state,
        "reason": supervisor.reason or None,
        "since": supervisor.since,
        "next_try": supervisor.next_try,
        "restarts_in_a_row": state.losses_in_a_row,
    }


def _checkpoint(state: TrainingState) -> dict[str, Any]:
    newest = state.saved
    failed = state.checkpoint_failure
    return {
        "newest": newest
        and {
            "round": newest.number,
            "file": newest.file,
            "bytes": newest.size_bytes,
            "sha256": newest.sha256,
            "time": newest.time,
        },
        "failure": failed and {"round": failed.round, "reason": failed.reason},
    }


def _round(result: RoundResult) -> dict[str, Any]:
    metrics: dict[str, dict[str, float]] = {}
    for measure, value in result.metrics.items():
        metrics.setdefault(measure.origin, {})[measure.name] = value
    return {
        "round": result.number,
        "valid": result.valid,
        "seconds": result.seconds,
        "metrics": metrics,
        "time": result.time,
    }


def _client(state: TrainingState, client: Client) -> dict[str, Any]:
    return {
        "client": client.name,
        "name": client.label or None,
        "partition": client.partition,
        "standing": standing(state, client).name.lower(),
        "joined": client.joined,
        "last_seen": client.last_seen,
        "rounds": client.trained,
        "failures": client.failures,
        "quarantines": client.quarantines,
        "last_reason": client.last_reason or None,
        "gpus": client.gpus and _gpus(client.gpus),
    }


def _gpus(gpus: ClientGpus) -> dict[str, Any]:
    return {
        "device": gpus.device or None,
        "round": gpus.round,
        "readings": [record_of_reading(each) for each in gpus.readings.values()],
        "xid_errors": {
            place: {str(xid): n for xid, n in found.items()} for place, found in gpus.xids.items()
        },
    }


def _left_out(state: TrainingState, each: LeftOut) -> dict[str, Any]:
    return {
        "round": each.number,
        "client": each.client,
        "name": called(state, each.client),
        "how": each.outcome,
        "code": each.code,
        "reason": each.reason,
        "time": each.time,
    }


def _outlier(each: Course) -> dict[str, Any]:
    return {
        "client": each.client.name,
        "name": each.client.label or None,
        "far_rounds": each.far,
        "measured_rounds": each.measured,
        "distance_in_medians": each.typical,
        "is_far": each.is_far,
        "is_never_used": each.is_never_used,
    }


def _moment(each: Moment, hidden: tuple[str, ...]) -> dict[str, Any]:
    fields = {name: value for name, value in record_of(each.entry).items() if name not in hidden}
    return {"time": each.time, "position": each.position, **fields}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        return None  # no JSON has a word for it
    if isinstance(value, str):
        return str(value)
    return value.isoformat() if isinstance(value, datetime) else value
