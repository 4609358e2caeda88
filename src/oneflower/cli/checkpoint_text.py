"""How `oneflower checkpoints` puts a round into words, cells and JSON."""

import json
import math
import sys
from collections.abc import Mapping
from typing import Any

from oneflower.checkpoints import CheckpointInfo, CheckpointReader
from oneflower.errors import CheckpointError


def row_of(reader: CheckpointReader, info: CheckpointInfo, *, proven: bool) -> dict[str, Any]:
    """Return a committed round as JSON-able fields; `proven` hashes its files."""
    problem = info.problem
    if proven and problem is None:
        try:
            reader.verify(info.round)
        except CheckpointError as error:
            problem = str(error)
    row: dict[str, Any] = {
        "round": info.round,
        "verified": (problem is None) if proven else None,
        "problem": problem,
    }
    if info.manifest is not None:
        content = info.manifest.content
        row |= {
            "time": content["time"],
            "size_bytes": info.manifest.size_bytes,
            "strategy": content["strategy"],
            "sha256": info.manifest.model.sha256,
            "metrics": {
                phase: rounds[str(info.round)]
                for phase, rounds in content["metrics"].items()
                if isinstance(rounds, dict) and str(info.round) in rounds
            },
        }
    return row


def cells_of(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of a round's line in the list."""
    metrics = [
        f"{phase} {name} {number_text(value)}"
        for phase, values in row.get("metrics", {}).items()
        for name, value in values.items()
    ]
    verified = {True: "yes", False: f"NO: {row['problem']}", None: "not asked"}[row["verified"]]
    return (
        str(row["round"]),
        row.get("time", "?"),
        str(row.get("size_bytes", "?")),
        row.get("strategy", "?"),
        ", ".join(metrics),
        verified,
    )


def number_text(value: Any) -> str:
    """Return a number in six digits, anything else as text."""
    return f"{value:.6g}" if isinstance(value, (int, float)) else "" if value is None else str(value)


def field_text(value: Any) -> str:
    """Return a manifest's field in one line."""
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
