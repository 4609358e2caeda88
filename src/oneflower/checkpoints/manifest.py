"""The manifest of a checkpoint: its content, its origin, and the digests that verify it.

A manifest verifies itself too: its last key is the SHA-256 of all the others, and its bytes must be exactly
those that its content renders to. So every changed byte is detected, even one in white space.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from oneflower.bounded_json import Bounds, parse_json
from oneflower.checkpoints.fields import digest, require_fields, schema_of, size
from oneflower.checkpoints.files import LARGEST_MANIFEST
from oneflower.checkpoints.history import BEGINNING, Position
from oneflower.checkpoints.metrics import check_metrics, from_json, normalised, to_json
from oneflower.checkpoints.model import FORM_CHANGED, Checkpoint, ModelSchema
from oneflower.checkpoints.names import HISTORY, model_name, state_name
from oneflower.checkpoints.npz_reading import file_sizes
from oneflower.checkpoints.portions import fitting
from oneflower.checkpoints.signing import SIGNED, Signer
from oneflower.errors import AppError, CheckpointError
from oneflower.quality import Best

SCHEMA: Final = 2
WHOLE_HISTORY: Final = 1
"""The schema of earlier releases, whose manifests hold all metrics so far: read, no longer written."""
SELF: Final = "manifest_sha256"
BOUNDS: Final = Bounds(most_bytes=LARGEST_MANIFEST, most_values=1_000_000)
"""An array takes six values, and a metric of schema 1 one."""
OWN_METRICS: Final = Bounds(most_bytes=4 << 20, most_values=100_000)
"""For the metrics of a phase in the manifest of their round; longer lists are in the history alone."""
_END: Final = b"\n}\n"


class DamagedError(CheckpointError):
    """A file of a checkpoint is not as it was committed; the text says what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """A file of the checkpoint, as it was committed."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest, checked and typed. `content` is the raw JSON object without its own digest.

    `history` is where the metrics so far end in the history; None if the manifest itself holds them.
    """

    round: int
    model: FileRecord
    state: FileRecord | None
    schema: ModelSchema
    state_schema: ModelSchema
    history: Position | None
    content: Mapping[str, Any]

    @property
    def files(self) -> tuple[FileRecord, ...]:
        """The checkpoint's data files."""
        return (self.model,) if self.state is None else (self.model, self.state)

    @property
    def form_changed(self) -> bool:
        """Whether the model has another form than before round 1, as trees that grow have."""
        return bool(self.content["notes"].get(FORM_CHANGED))

    @property
    def size_bytes(self) -> int:
        """The bytes of the data files together."""
        return sum(record.size_bytes for record in self.files)

    @property
    def is_signed(self) -> bool:
        """Whether it has a signature, right or wrong."""
        return SIGNED in self.content

    @property
    def metrics(self) -> dict[str, Any]:
        """The metrics of the round without its client evaluation; in schema 1 all metrics so far."""
        metrics: dict[str, Any] = from_json(self.content["metrics"])
        return metrics


def own_metrics(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the metrics of the checkpoint's own round, without lists that are too long for a manifest."""
    number = str(checkpoint.round)
    return {
        phase: {
            number: fitting(
                normalised(rounds[number], source=f"phase {phase!r} of round {number}"), OWN_METRICS
            )
        }
        for phase, rounds in checkpoint.metrics.items()
        if number in rounds
    }


def describe(  # noqa: PLR0913 - the fields of a manifest
    checkpoint: Checkpoint,
    *,
    model: FileRecord,
    state: FileRecord | None,
    best: Best | None,
    best_metric: str,
    history: Position,
    time: str,
) -> dict[str, Any]:
    """Return the manifest's content for a checkpoint whose files have been written."""
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
        "best": None if best is None else best.fields,
        "best_metric": best_metric,
        "metrics": to_json(own_metrics(checkpoint)),
        "history": {"name": HISTORY, **asdict(history)},
    }


def render(content: Mapping[str, Any]) -> bytes:
    """Return the manifest's bytes, its own digest last."""
    text = _text(content)
    # Every reading renders what it has read, to compare: spelling it once halves the time.
    return text.removesuffix(_END) + f',\n "{SELF}": "{hashlib.sha256(text).hexdigest()}"'.encode() + _END


def parse(data: bytes, number: int, signer: Signer | None = None, folder: Path | None = None) -> Manifest:
    """Verify and parse the manifest of round `number`; `folder` is where it lies, for errors.

    Raises
    ------
    ForeignError
        It is intact, and not signed as `signer` requires.
    DamagedError
        Its bytes are not as committed, or it is the manifest of another round.
    CheckpointError
        It is intact but of a newer schema than this version reads.
    """
    content = _verified(data)
    if content.get("schema") not in (WHOLE_HISTORY, SCHEMA):
        raise CheckpointError(
            f"the checkpoint of round {number} has schema {content.get('schema')!r:.40}, expected {SCHEMA} "
            "at most: it is of another version of oneflower. Install that version, or start in an empty "
            "folder."
        )
    try:
        manifest = _typed(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(f"the manifest lacks a field of schema {content['schema']}: {error!r}") from error
    if manifest.round != number:
        raise DamagedError(f"the manifest is that of round {manifest.round}, expected round {number}")
    _check_file_names(manifest)
    if signer is not None:
        signer.check(content, _text, folder)
    return manifest


def sign(content: Mapping[str, Any], signer: Signer | None) -> Mapping[str, Any]:
    """Return a manifest's content, signed where there is a signer."""
    return content if signer is None else signer.signed(content, _text)


def _verified(data: bytes) -> dict[str, Any]:
    try:
        content = parse_json(data, BOUNDS)
    except ValueError as error:
        raise DamagedError(f"the manifest is not JSON that is read: {error}") from error
    if not isinstance(content, dict) or SELF not in content:
        raise DamagedError("the manifest does not hold its own SHA-256")
    del content[SELF]
    if _rendered(content) != data:
        raise DamagedError("the manifest's SHA-256 is not the one it was committed with")
    return content


def _rendered(content: Mapping[str, Any]) -> bytes | None:
    """Return the bytes of the content; None where none can be written, because a number is not finite."""
    try:
        return render(content)
    except (ValueError, RecursionError):
        return None


def _typed(content: dict[str, Any]) -> Manifest:
    require_fields(content)
    files = content["files"]
    schema, state_schema = schema_of(content["arrays"]), schema_of(content["state_arrays"])
    return Manifest(
        round=content["round"],
        model=_record(files["model"], schema),
        state=None if files["state"] is None else _record(files["state"], state_schema),
        schema=schema,
        state_schema=state_schema,
        history=_position(content),
        content=content,
    )


def _position(content: Mapping[str, Any]) -> Position | None:
    """Return where the metrics end; in schema 2 the round's own metrics must be valid."""
    if content["schema"] == WHOLE_HISTORY:
        return None
    try:
        check_metrics(from_json(content["metrics"]))
    except AppError as error:
        raise ValueError(str(error)) from error
    history = content["history"]
    position = Position(size_bytes=size(history["size_bytes"]), sha256=history["sha256"])
    if position != BEGINNING:
        digest(position.sha256)
    return position


def _record(fields: Mapping[str, Any], schema: ModelSchema) -> FileRecord:
    """Return a file's record; ValueError where its size is not one of a file of these arrays."""
    record = FileRecord(**fields)
    size(record.size_bytes)
    digest(record.sha256)
    least, most = file_sizes(schema.arrays)
    if not least <= record.size_bytes <= most:
        raise ValueError(f"a file of its arrays has {least} to {most} bytes, and not {record.size_bytes}")
    return record


def _check_file_names(manifest: Manifest) -> None:
    """Reject file names other than the round's own: a manifest must not point outside its folder."""
    expected = (model_name(manifest.round), state_name(manifest.round))
    if any(record.name != name for record, name in zip(manifest.files, expected, strict=False)):
        raise DamagedError(f"the manifest names files other than {expected[0]} and {expected[1]}")
    if manifest.history is not None and manifest.content["history"]["name"] != HISTORY:
        raise DamagedError(f"the manifest names a history other than {HISTORY}")


def _text(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode()


def _file(record: FileRecord) -> dict[str, Any]:
    return {"name": record.name, "size_bytes": record.size_bytes, "sha256": record.sha256}


def _schema_rows(schema: ModelSchema) -> list[dict[str, Any]]:
    return [
        {"name": name, "shape": list(shape), "dtype": dtype} for name, (shape, dtype) in schema.arrays.items()
    ]
