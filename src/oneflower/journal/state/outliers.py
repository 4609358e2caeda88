"""Who is always far from the model, or never used: the one definition of an outlier (decision 240)."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan
from statistics import median_low
from typing import TYPE_CHECKING, Final

from oneflower.journal.state.records import STRIP_ROUNDS, Client, Measured

if TYPE_CHECKING:
    from oneflower.journal.state.training import TrainingState

FAR: Final = 2.5
"""From so many medians of the round on an update is far. Honest ones seldom are: decision 240."""
WINDOW: Final = 10
"""The last rounds that decide."""
LEAST: Final = 3
"""A client is an outlier with so many far updates among them, and not before."""
FEWEST: Final = 3
"""Among fewer updates none is far: with two, each is as far from the model as the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How far a client's updates were from the new models.

    Attributes
    ----------
    ratios
        By round: the distance in medians of that round, infinite where it was too large; ascending.
    unused
        The rounds in which the rule did not use the update.
    passed_over
        Those among them in which it used most of the updates: Krum uses one, and passes nobody over.
    window
        The rounds that decide whether it is an outlier.
    """

    client: Client
    ratios: Mapping[int, float]
    unused: frozenset[int]
    passed_over: frozenset[int]
    window: range

    @property
    def far(self) -> int:
        """In how many of the last rounds the update was far."""
        return sum(ratio >= FAR for ratio in self._recent.values())

    @property
    def measured(self) -> int:
        """In how many of the last rounds there was an update."""
        return len(self._recent)

    @property
    def typical(self) -> float:
        """The median of the last distances, in medians of their rounds; 0 without any."""
        return median_low(self._recent.values()) if self._recent else 0.0

    @property
    def is_far(self) -> bool:
        """Whether most of the last updates were far, and not only one or two."""
        return self.far >= LEAST and 2 * self.far > self.measured

    @property
    def is_never_used(self) -> bool:
        """Whether a rule that used most of the updates has used none of this client's in all last rounds."""
        return self.measured >= WINDOW and self.passed_over.issuperset(self._recent)

    @property
    def is_outlier(self) -> bool:
        """Whether an operator should look at this client."""
        return self.is_far or self.is_never_used

    @property
    def last(self) -> float:
        """The distance in the last round of the window that it took part in; NaN without any."""
        return list(self._recent.values())[-1] if self._recent else nan

    @property
    def _recent(self) -> dict[int, float]:
        return {number: ratio for number, ratio in self.ratios.items() if number in self.window}


def courses(state: "TrainingState", *, rounds: int = STRIP_ROUNDS) -> list[Course]:
    """Return how each client's updates of the last rounds went, outliers first, then by distance."""
    numbers = _last_rounds(state, rounds)
    shown = [(client, _measured(client, numbers)) for client in state.roster.values()]
    medians, choosing = _medians(each for _, each in shown), _choosing(each for _, each in shown)
    window = range(numbers[-WINDOW:][0], numbers[-1] + 1) if numbers else range(0)
    found = []
    for client, measured in shown:
        unused = frozenset(number for number, each in measured.items() if each.used is False)
        ratios = {
            number: each.distance / medians[number]
            for number, each in measured.items()
            if number in medians and each.distance >= 0
        }
        if measured:
            found.append(
                Course(
                    client=client, ratios=ratios, unused=unused, passed_over=unused & choosing, window=window
                )
            )
    return sorted(found, key=lambda each: (not each.is_outlier, -each.typical, each.client.shown))


def outliers(state: "TrainingState") -> list[Course]:
    """Return the clients that an operator should look at, the farthest first."""
    return [each for each in courses(state, rounds=WINDOW) if each.is_outlier]


def farthest(found: Sequence[Course]) -> float | None:
    """Return the largest distance of the last round in medians, None where there is none."""
    last = max((number for each in found for number in each.ratios), default=None)
    return max(each.ratios.get(last, 0.0) for each in found) if last is not None else None


def _last_rounds(state: "TrainingState", most: int) -> list[int]:
    """Return the numbers of the last rounds in which anything was measured."""
    numbers: set[int] = set()
    for client in state.roster.values():
        numbers.update(client.measured)
    return sorted(numbers)[-most:]


def _measured(client: Client, numbers: Sequence[int]) -> dict[int, Measured]:
    return {number: client.measured[number] for number in numbers if number in client.measured}


def _medians(shown: Iterable[Mapping[int, Measured]]) -> dict[int, float]:
    """Return for each round the median distance of those above 0: Krum's model is one of the updates."""
    by_round: dict[int, list[float]] = {}
    for measured in shown:
        for number, each in measured.items():
            if each.distance >= 0:
                by_round.setdefault(number, []).append(each.distance)
    found = {}
    for number, distances in by_round.items():
        middle = median_low([each for each in distances if each > 0] or [inf])
        if len(distances) >= FEWEST and isfinite(middle):
            found[number] = middle
    return found


def _choosing(shown: Iterable[Mapping[int, Measured]]) -> frozenset[int]:
    """Return the rounds whose rule has used more than half of the updates."""
    balance: Counter[int] = Counter()
    for measured in shown:
        for number, each in measured.items():
            balance[number] += 1 if each.used else -1
    return frozenset(number for number, surplus in balance.items() if surplus > 0)
