"""A training as JSON, for programs: the same that the report shows."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from math import isfinite
from typing import Any, Final

from oneflower.journal import TrainingState
from oneflower.journal.state.records import Client, Moment
from oneflower.monitor.safety import Safety
from oneflower.monitor.standing import standing

SCHEMA: Final = 1


def as_json(view: TrainingState, safety: Safety | None = None) -> dict[str, Any]:
    """Return everything that is known as JSON values. Times are ISO 8601 in UTC, sizes bytes."""
    best = view.best()
    document = {
        "schema": SCHEMA,
        "training": {
            "app": view.app,
            "strategy": view.strategy,
            "parameters": dict(view.parameters),
            "phase": view.phase.name.lower(),
            "round": view.done,
            "rounds": view.total,
            "running_round": view.started_round,
            "began": view.first_time,
            "last_event": view.last_time,
            "time_left_seconds": view.left_s(),
            "best": dict(zip(("round", "metric", "value"), best, strict=True)) if best else None,
            "metrics": view.headline(view.done),
            "model_sha256": view.finish.get("sha256") if view.finish else None,
            "model_path": view.finish.get("path") if view.finish else None,
            "failure": view.failure or None,
        },
        "journal": {"trouble": view.trouble or None, "begins_with_round": view.first_told},
        "counts": {
            "restarts": view.restarts,
            "resumes": view.resumes,
            "failed_rounds": view.failed_rounds,
            "failed_checkpoints": view.failed_checkpoints,
            "failures": dict(view.failures),
            "quarantines": dict(view.quarantines),
        },
        "rounds": [asdict(result) for _, result in sorted(view.rounds.items())],
        "lost_rounds": [asdict(result) for result in view.undone],
        "clients": [_client(view, client) for client in view.roster.values()],
        "left_out": [asdict(left) for left in view.left_out],
        "checkpoints": asdict(safety) if safety else None,
        "timeline": [_moment(each) for each in view.moments],
        "settings": [dict(row) for row in view.settings],
        "environment": dict(view.environment),
    }
    plain: dict[str, Any] = _plain(document)
    return plain


def _client(view: TrainingState, client: Client) -> dict[str, Any]:
    return {
        "client": client.name,
        "standing": standing(view, client).name.lower(),
        "joined": client.joined,
        "last_seen": client.last_seen,
        "rounds": client.trained,
        "failures": client.failures,
        "quarantines": client.quarantines,
        "last_reason": client.last_reason or None,
    }


def _moment(each: Moment) -> dict[str, Any]:
    fields = {name: value for name, value in each.event.items() if name not in ("v", "time")}
    return {"time": each.time, "position": each.position, **fields}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {getattr(key, "text", key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        return None  # no JSON has a word for it
    return value.isoformat() if isinstance(value, datetime) else value
