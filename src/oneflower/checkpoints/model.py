"""Types: a checkpoint, the result of saving one, a model's schema, and the checkpoint of a resume."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

from oneflower.checkpoints.npz import Arrays

# Metrics: phase ("train", "evaluate", "central") -> round as text -> name -> number or list of numbers.
# JSON keys are text, so the round is text in memory too and survives unchanged.
Metrics: TypeAlias = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A training after `round`: everything that the next round needs.

    `arrays` is the global model, `state` the server optimizer's arrays (empty without one). The store does
    not copy them: the caller must not change them in place. `metrics` holds all metrics so far when a
    checkpoint is read; to save one, those that the store has not recorded yet are enough. `notes` is JSON
    that the training stores for itself; empty in checkpoints of earlier releases.
    """

    round: int
    total_rounds: int
    arrays: Arrays
    state: Arrays = field(default_factory=dict)
    strategy: str
    parameters: Mapping[str, float | int]
    app: str
    seed: int
    metrics: Metrics = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A committed checkpoint. `sha256` is that of the model file; `seconds` includes every fsync."""

    round: int
    path: Path
    size_bytes: int
    seconds: float
    sha256: str


FORM_CHANGED: Final = "form_changed"
"""In a checkpoint's notes: the model has another form than before round 1, as trees that grow have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSchema:
    """A model's array names with their shapes and dtypes, without the values."""

    arrays: Mapping[str, tuple[tuple[int, ...], str]]

    @classmethod
    def of(cls, arrays: Arrays) -> Self:
        """Return the schema of a model's arrays."""
        return cls(arrays={name: (tuple(a.shape), a.dtype.str) for name, a in arrays.items()})

    def differences(self, other: "ModelSchema") -> list[str]:
        """Return one line per array in which a checkpoint (`other`) differs from this model."""
        lines = [f"{name}: not in the checkpoint" for name in self.arrays if name not in other.arrays]
        lines += [f"{name}: only in the checkpoint" for name in other.arrays if name not in self.arrays]
        for name, (shape, dtype) in self.arrays.items():
            if name in other.arrays and other.arrays[name] != (shape, dtype):
                other_shape, other_dtype = other.arrays[name]
                lines.append(
                    f"{name}: shape {list(shape)} {dtype} here, "
                    f"shape {list(other_shape)} {other_dtype} in the checkpoint"
                )
        return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """A checkpoint as this training resumes from it, with the warnings for the operator."""

    checkpoint: Checkpoint
    state_fresh: bool
    warnings: tuple[str, ...]


def adopt(checkpoint: Checkpoint, *, strategy: str, seed: int, app: str) -> Resumption:
    """Adopt a checkpoint: the weights always, the optimizer state only if the strategy is the same."""
    fresh = checkpoint.strategy != strategy
    warnings = []
    if fresh:
        warnings.append(
            f"the checkpoint of round {checkpoint.round} was made by {checkpoint.strategy}, "
            f"this training runs {strategy}: the weights are used, the optimizer state starts fresh"
        )
    for name, saved, present in (("seed", checkpoint.seed, seed), ("app", checkpoint.app, app)):
        if saved != present:
            warnings.append(
                f"the checkpoint of round {checkpoint.round} has {name} {saved}, this training {present}: "
                "it resumes, but the result differs from an uninterrupted training"
            )
    taken = replace(checkpoint, state={}) if fresh else checkpoint
    return Resumption(checkpoint=taken, state_fresh=fresh, warnings=tuple(warnings))
