"""Format a checkpoint for `oneflower checkpoints`, as table cells and as JSON."""

import json
import math
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from oneflower.checkpoints import CheckpointInfo, CheckpointReader, Manifest, Metrics, MissingRoundError
from oneflower.checkpoints.metrics import to_json
from oneflower.checkpoints.signing import training_of
from oneflower.errors import CheckpointError, ForeignError


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What became of verifying a round, and the line about it."""

    text: str
    model_damaged: bool = False
    foreign: bool = False
    metrics_damaged: bool = False
    unchecked: bool = False


def verify_round(reader: CheckpointReader, number: int, *, required: bool) -> Verified:
    """Verify one round; unless `required`, it may be removed meanwhile by a running training."""
    try:
        manifest = reader.verify(number)
        problem = reader.metrics_problem(number)
    except MissingRoundError:
        if required:
            raise
        return Verified(text="removed meanwhile")
    except ForeignError as error:
        return Verified(text=f"{error.word}, {error}", foreign=True)
    except CheckpointError as error:
        return Verified(text=f"DAMAGED, {error}", model_damaged=True)
    good = f"good, {manifest.size_bytes} bytes, model {manifest.model.sha256}"
    unchecked = _signature_checked(reader, manifest) is False
    if unchecked:
        good += ", signature not checked"
    if problem is None:
        return Verified(text=good, unchecked=unchecked)
    return Verified(text=f"{good}; METRICS DAMAGED, {problem}", metrics_damaged=True, unchecked=unchecked)


def _signature_checked(reader: CheckpointReader, manifest: Manifest) -> bool | None:
    """Whether a signature was checked; None where there is none."""
    return reader.signer is not None if training_of(manifest.content) else None


def rows_of(reader: CheckpointReader, *, verified: bool) -> list[dict[str, Any]]:
    """Return the fields of the committed rounds for JSON; `verified` hashes their files.

    A round that a running training removes meanwhile is left out.
    """
    metrics = reader.metrics()
    rows = []
    for info in reader.list():
        with suppress(MissingRoundError):
            rows.append(_row(reader, info, metrics, verified=verified))
    return rows


def _row(
    reader: CheckpointReader, info: CheckpointInfo, metrics: Metrics, *, verified: bool
) -> dict[str, Any]:
    problem = info.problem
    metrics_problem = None
    if verified and problem is None:
        try:
            reader.verify(info.round)
            metrics_problem = reader.metrics_problem(info.round)
        except MissingRoundError:
            raise
        except CheckpointError as error:
            problem = str(error)
    row: dict[str, Any] = {
        "round": info.round,
        "verified": (problem is None) if verified else None,
        "problem": problem,
        "metrics_problem": metrics_problem,
        "signature_checked": None,
    }
    if info.manifest is not None:
        content = info.manifest.content
        row |= {
            "signature_checked": _signature_checked(reader, info.manifest),
            "time": content["time"],
            "size_bytes": info.manifest.size_bytes,
            "strategy": content["strategy"],
            "sha256": info.manifest.model.sha256,
            "metrics": _metrics_of(info.round, info.manifest.metrics, metrics),
        }
    return row


def _metrics_of(number: int, own: Metrics, all_so_far: Metrics) -> dict[str, Any]:
    """Return a round's metrics: those of its manifest, and its client evaluation recorded afterwards."""
    found = {}
    for part in (own, all_so_far):
        for phase, rounds in part.items():
            if isinstance(rounds, Mapping) and str(number) in rounds:
                found[phase] = to_json(rounds[str(number)])
    return found


def cells_of(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the table cells of one round."""
    metrics = [
        f"{phase} {name} {number_text(value)}"
        for phase, values in row.get("metrics", {}).items()
        for name, value in values.items()
    ]
    verified = {True: "yes", False: f"NO: {row['problem']}", None: "not asked"}[row["verified"]]
    if row["metrics_problem"]:
        verified += f", METRICS DAMAGED: {row['metrics_problem']}"
    return (
        str(row["round"]),
        row.get("time", "?"),
        str(row.get("size_bytes", "?")),
        row.get("strategy", "?"),
        ", ".join(metrics),
        verified,
    )


def number_text(value: Any) -> str:
    """Return a number with six digits, anything else as text."""
    return f"{value:.6g}" if isinstance(value, (int, float)) else "" if value is None else str(value)


def field_text(value: Any) -> str:
    """Return a manifest's field as one line of text."""
    return value if isinstance(value, str) else json.dumps(value)


def print_json(document: Any) -> None:
    """Print strict JSON: a number that is not finite is null."""
    sys.stdout.write(json.dumps(_strict(document), indent=2, allow_nan=False) + "\n")


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
