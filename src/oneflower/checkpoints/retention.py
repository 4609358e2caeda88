"""Which checkpoints are kept: policies that can be combined, and a rule that no policy can override."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from oneflower.errors import CheckpointError


class Retention(Protocol):
    """A policy: which committed rounds are kept in addition to the newest and the best."""

    def kept(self, rounds: Collection[int]) -> set[int]:
        """Return the rounds to keep, a subset of `rounds`."""
        ...


@dataclass(frozen=True, slots=True)
class KeepAll:
    """Keep every round."""

    def kept(self, rounds: Collection[int]) -> set[int]:
        """Return all rounds."""
        return set(rounds)


@dataclass(frozen=True, slots=True)
class KeepNewest:
    """Keep the newest `count` rounds; at least 2, so that one may be damaged."""

    count: int

    def __post_init__(self) -> None:
        if self.count < 2:
            raise CheckpointError(
                f"keeping the newest {self.count} checkpoints: expected at least 2, "
                "so that one may be damaged. Set FL_CHECKPOINT_KEEP to 2 or more, or to 0 to keep all."
            )

    def kept(self, rounds: Collection[int]) -> set[int]:
        """Return the newest rounds."""
        return set(sorted(rounds)[-self.count :])


@dataclass(frozen=True, slots=True)
class KeepEvery:
    """Keep every round that is a multiple of `interval`."""

    interval: int

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise CheckpointError(f"keeping every {self.interval}th checkpoint: expected 1 or more.")

    def kept(self, rounds: Collection[int]) -> set[int]:
        """Return the multiples of the interval."""
        return {number for number in rounds if number % self.interval == 0}


@dataclass(frozen=True, slots=True)
class KeepUnion:
    """Keep every round that any of the policies keeps."""

    parts: tuple[Retention, ...]

    def kept(self, rounds: Collection[int]) -> set[int]:
        """Return the union of the rounds that the policies keep."""
        return set().union(*(part.kept(rounds) for part in self.parts))


def retention_of(keep: int) -> Retention:
    """Return the policy of FL_CHECKPOINT_KEEP: 0 keeps all rounds, n the newest n."""
    return KeepAll() if keep == 0 else KeepNewest(keep)


def rounds_to_delete(rounds: Collection[int], best: int | None, policy: Retention) -> tuple[int, ...]:
    """Return the rounds to delete, oldest first: never the newest, never the best, whatever the policy."""
    if isinstance(policy, KeepAll) or not rounds:
        return ()
    return tuple(sorted(set(rounds) - policy.kept(rounds) - {max(rounds), best}))
