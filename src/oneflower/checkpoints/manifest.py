"""The manifest of a checkpoint: what it holds, who made it, and the digests that prove it.

A manifest proves itself too: its last key is the SHA-256 of all the others, and its bytes must be exactly
those that its content renders to. So no flipped byte in it goes unseen, not even in a space.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from oneflower.checkpoints.model import Checkpoint, ModelSchema, json_metrics
from oneflower.checkpoints.names import model_name, state_name
from oneflower.checkpoints.retention import Best
from oneflower.errors import CheckpointError

SCHEMA: Final = 1
SELF: Final = "manifest_sha256"
_NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class DamagedError(CheckpointError):
    """A file of a checkpoint is not what it was when it was committed; the text says what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """A file of the checkpoint, as it was committed."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest, checked and typed. `content` is the raw JSON object without its own digest."""

    round: int
    model: FileRecord
    state: FileRecord | None
    schema: ModelSchema
    state_schema: ModelSchema
    content: Mapping[str, Any]

    @property
    def files(self) -> tuple[FileRecord, ...]:
        """The checkpoint's data files."""
        return (self.model,) if self.state is None else (self.model, self.state)

    @property
    def size_bytes(self) -> int:
        """The bytes of the data files together."""
        return sum(record.size_bytes for record in self.files)

    @property
    def metrics(self) -> dict[str, Any]:
        """The metrics so far, their not finite numbers restored."""
        metrics: dict[str, Any] = _restored(self.content["metrics"])
        return metrics


def describe(
    checkpoint: Checkpoint,
    *,
    model: FileRecord,
    state: FileRecord | None,
    best: Best | None,
    time: str,
) -> dict[str, Any]:
    """Return the manifest's content for a checkpoint whose files are written."""
    return {
        "schema": SCHEMA,
        "round": checkpoint.round,
        "total_rounds": checkpoint.total_rounds,
        "strategy": checkpoint.strategy,
        "parameters": dict(checkpoint.parameters),
        "app": checkpoint.app,
        "seed": checkpoint.seed,
        "time": time,
        "versions": dict(checkpoint.versions),
        "notes": dict(checkpoint.notes),
        "files": {"model": _file(model), "state": None if state is None else _file(state)},
        "arrays": _schema_rows(ModelSchema.of(checkpoint.arrays)),
        "state_arrays": _schema_rows(ModelSchema.of(checkpoint.state)),
        "best": None if best is None else asdict(best),
        "metrics": _spelled(json_metrics(checkpoint.metrics)),
    }


def render(content: Mapping[str, Any]) -> bytes:
    """Return the manifest's bytes, its own digest last."""
    body = {**content, SELF: hashlib.sha256(_text(content)).hexdigest()}
    return _text(body)


def parse(data: bytes, number: int) -> Manifest:
    """Check and type the manifest that lies under the name of round `number`.

    Raises
    ------
    DamagedError
        Its bytes are not as committed, or it is the manifest of another round.
    CheckpointError
        It is intact and of a newer schema than this version reads.
    """
    content = _proven(data)
    if content.get("schema") != SCHEMA:
        raise CheckpointError(
            f"the checkpoint of round {number} has schema {content.get('schema')}, expected {SCHEMA}: "
            "it is of another version of oneflower. Install that version, or start in an empty folder."
        )
    try:
        manifest = _typed(content)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(
            f"the manifest lacks what a manifest of schema {SCHEMA} holds: {error!r}"
        ) from error
    if manifest.round != number:
        raise DamagedError(f"the manifest is that of round {manifest.round}, expected round {number}")
    _check_file_names(manifest)
    return manifest


def _proven(data: bytes) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except ValueError as error:
        raise DamagedError(f"the manifest is not JSON: {error}") from error
    if not isinstance(content, dict) or SELF not in content:
        raise DamagedError("the manifest does not hold its own SHA-256")
    del content[SELF]
    if render(content) != data:
        raise DamagedError("the manifest's SHA-256 is not the one it was committed with")
    return content


def _typed(content: dict[str, Any]) -> Manifest:
    files = content["files"]
    return Manifest(
        round=content["round"],
        model=FileRecord(**files["model"]),
        state=None if files["state"] is None else FileRecord(**files["state"]),
        schema=_schema(content["arrays"]),
        state_schema=_schema(content["state_arrays"]),
        content=content,
    )


def _check_file_names(manifest: Manifest) -> None:
    """Refuse names other than the round's own: a manifest must not lead outside its folder."""
    expected = (model_name(manifest.round), state_name(manifest.round))
    if any(record.name != name for record, name in zip(manifest.files, expected, strict=False)):
        raise DamagedError(f"the manifest names files other than {expected[0]} and {expected[1]}")


def _text(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode()


def _file(record: FileRecord) -> dict[str, Any]:
    return {"name": record.name, "size_bytes": record.size_bytes, "sha256": record.sha256}


def _schema_rows(schema: ModelSchema) -> list[dict[str, Any]]:
    return [
        {"name": name, "shape": list(shape), "dtype": dtype} for name, (shape, dtype) in schema.arrays.items()
    ]


def _schema(rows: list[dict[str, Any]]) -> ModelSchema:
    return ModelSchema(arrays={row["name"]: (tuple(row["shape"]), row["dtype"]) for row in rows})


def _spelled(value: Any) -> Any:
    """Spell numbers that are not finite as text, for JSON has none: a reader in any language can open it."""
    if isinstance(value, dict):
        return {key: _spelled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_spelled(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _restored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_restored(item) for item in value]
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value
