"""What a checkpoint is, what a saved one answers, and how two models are told apart."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeAlias

from oneflower.checkpoints.npz import Arrays

# Metrics: phase ("train", "evaluate", "central") -> round as text -> name -> number or list of numbers.
# JSON has no number keys, so the round is text on both sides and survives unchanged.
Metrics: TypeAlias = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A training after `round`: all that the next round needs.

    `arrays` is the global model and `state` the server optimizer's arrays (empty where there is none). The
    store does not copy them: whoever hands them over no longer changes them in place. `metrics` are all so
    far when a checkpoint is read; to save one, those that the store has not recorded yet are enough. `notes`
    is JSON that the training wants back; empty in what earlier releases wrote.
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
    """A committed checkpoint. `sha256` is the model's and its file's; `seconds` includes every fsync."""

    round: int
    path: Path
    size_bytes: int
    seconds: float
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSchema:
    """A model's array names with their shapes and dtypes, without the numbers."""

    arrays: Mapping[str, tuple[tuple[int, ...], str]]

    @classmethod
    def of(cls, arrays: Arrays) -> Self:
        """Return the schema of a model's arrays."""
        return cls(arrays={name: (tuple(a.shape), a.dtype.str) for name, a in arrays.items()})

    def differences(self, other: "ModelSchema") -> list[str]:
        """Say, one line an array, where a checkpoint (`other`) does not fit this model."""
        lines = [f"{name}: not in the checkpoint" for name in self.arrays if name not in other.arrays]
        lines += [f"{name}: only in the checkpoint" for name in other.arrays if name not in self.arrays]
        for name, (shape, dtype) in self.arrays.items():
            if name in other.arrays and other.arrays[name] != (shape, dtype):
                there, other_dtype = other.arrays[name]
                lines.append(
                    f"{name}: shape {list(shape)} {dtype} here, "
                    f"shape {list(there)} {other_dtype} in the checkpoint"
                )
        return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """A checkpoint as the present training takes it, with what the operator must hear about it."""

    checkpoint: Checkpoint
    state_fresh: bool
    warnings: tuple[str, ...]


def adopt(checkpoint: Checkpoint, *, strategy: str, seed: int, app: str) -> Resumption:
    """Take over a checkpoint: the weights always, the optimizer state only under the same strategy."""
    fresh = checkpoint.strategy != strategy
    warnings = []
    if fresh:
        warnings.append(
            f"the checkpoint of round {checkpoint.round} was made by {checkpoint.strategy}, "
            f"this training runs {strategy}: the weights are taken, the optimizer state starts fresh"
        )
    for name, there, here in (("seed", checkpoint.seed, seed), ("app", checkpoint.app, app)):
        if there != here:
            warnings.append(
                f"the checkpoint of round {checkpoint.round} has {name} {there}, this training {here}: "
                "it goes on, but it does not repeat the earlier one"
            )
    taken = replace(checkpoint, state={}) if fresh else checkpoint
    return Resumption(checkpoint=taken, state_fresh=fresh, warnings=tuple(warnings))
