"""Each of our rules beside code that is not ours: how often they agree, and why where they do not."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from oneflower.aggregation import Ordered, Round, Update, ordered, pre_aggregated, spec_of
from oneflower.aggregation.distances import krum_scores, squared_distances
from oneflower.aggregation.mixing import bucketing, nearest_neighbours
from oneflower.aggregation.points import Points, Use

from ..exact import selection
from . import arbiter, byzfl_rules, flower_rules, optimizers
from .inputs import Sent, draw

Result = np.ndarray
Rule = Callable[[Sent], Result]
Reason = tuple[str, Callable[[Sent], bool]]
"""Why a result may differ, and whether that is so for an input."""

UNEXPLAINED = "unexplained"
LENGTH = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-9}


def minority(count: int) -> int:
    return (count - 1) // 2


def of_krum(count: int) -> int:
    return (count - 3) // 2


def of_bulyan(count: int) -> int:
    return (count - 3) // 4


def rounding(sent: Sent, like: Result) -> Result:
    """Return what the roundings of a mean may come to, of numbers of this size."""
    return 4 * len(sent.rows) * np.finfo(sent.rows.dtype).eps * np.abs(like) + np.finfo(sent.rows.dtype).tiny


def as_large_as_sent(sent: Sent, _theirs: Result) -> Result:
    return rounding(sent, sent.scale)


def as_large_as_found(sent: Sent, theirs: Result) -> Result:
    """Return the rounding of a result that extremes do not enter."""
    kept = np.sort(np.abs(sent.wide), axis=0)[: len(sent.rows) - sent.malicious]
    return rounding(sent, np.maximum(np.abs(theirs), kept.max(axis=0)))


def none(_sent: Sent, theirs: Result) -> Result:
    return np.zeros_like(theirs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One of our rules and one oracle.

    Attributes
    ----------
    adapted
        What was changed of the oracle, in words; empty where it is as its authors wrote it.
    tolerance
        Of (input, the oracle's result): by how much a coordinate may differ and be equal.
    reasons
        Why they differ. The first that holds of an input is the one that is counted.
    """

    rule: str
    oracle: str
    ours: Rule
    theirs: Rule
    adapted: str = ""
    most_malicious: Callable[[int], int] = minority
    tolerance: Callable[[Sent, Result], Result] = as_large_as_sent
    reasons: tuple[Reason, ...] = ()
    largest: float = 3e38

    def of_input(self, number: int) -> str:
        """Return why the two differ on this input, or an empty string."""
        sent = draw(number, self.most_malicious, self.largest)
        if self.agree(sent, self.ours(sent)):
            return ""
        return next((reason for reason, holds in self.reasons if holds(sent)), UNEXPLAINED)

    def agree(self, sent: Sent, ours: Result) -> bool:
        """Return whether the oracle gives this result."""
        theirs = self.theirs(sent).astype(np.float64)
        return same(ours, theirs, self.tolerance(sent, theirs))

    def count(self, numbers: range) -> "Count":
        """Compare on these inputs."""
        found = Counter(map(self.of_input, numbers))
        equal = found.pop("", 0)
        return Count(comparison=self, comparisons=len(numbers), equal=equal, reasons=dict(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How often two agreed, and how often not for which reason."""

    comparison: Comparison
    comparisons: int
    equal: int
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def differing(self) -> int:
        return self.comparisons - self.equal

    @property
    def unexplained(self) -> int:
        return self.reasons.get(UNEXPLAINED, 0)


def same(ours: Result, theirs: Result, within: Result) -> bool:
    """Return whether no coordinate differs by more than this."""
    with np.errstate(invalid="ignore", over="ignore"):
        return bool((np.abs(ours.astype(np.float64) - theirs) <= within).all())


# --- ours -----------------------------------------------------------------------------------------


def apply(
    name: str, sent: Sent, updates: Ordered | None = None, pre: str = "none", **values: float
) -> Result:
    """Return the model that our rule makes."""
    spec, model = pre_aggregated(spec_of(name), pre), {"w": sent.model}
    known = {"num_malicious": sent.malicious} if "num_malicious" in spec.values() else {}
    updates = sent.updates if updates is None else updates
    made = spec.aggregate(
        updates, model, spec.init(model), spec.values(**known | values), Round(seed=sent.number)
    )
    return np.asarray(made.model["w"])


def weights_of(sent: Sent) -> list[float]:
    return [float(1 + (7 * i + sent.number) % 50) for i in range(len(sent.rows))]


def weighted(name: str, sent: Sent) -> Result:
    rows = zip(sent.rows, weights_of(sent), strict=True)
    return apply(
        name,
        sent,
        ordered(Update(client=i, arrays={"w": row}, num_examples=n) for i, (row, n) in enumerate(rows)),
    )


def beta_of(sent: Sent) -> float:
    """Return a share of which just f clients are trimmed of each tail."""
    return (sent.malicious + 0.25) / len(sent.rows)


def our_trimmed(sent: Sent, pre: str = "none") -> Result:
    return apply("FedTrimmedAvg", sent, trim_beta=beta_of(sent), pre=pre)


def before(mix: Callable[[Sent], Result], then: Rule) -> Rule:
    """Return an oracle on the means that another has made."""

    def rule(sent: Sent) -> Result:
        return then(Sent(sent.number, mix(sent), sent.model.astype(np.float64), sent.malicious))

    return rule


def buckets(sent: Sent) -> Result:
    """Return ByzFL's buckets of the rows in the order in which ours draws them."""
    groups = bucketing(Points(sent.updates), sent.number, 1).stages[0]
    return byzfl_rules.bucketed(sent.wide[[i for group in groups for i in group]])


# --- reasons --------------------------------------------------------------------------------------


def honest(sent: Sent) -> int:
    return len(sent.rows) - sent.malicious


def krum_ties(sent: Sent) -> bool:
    """Return whether two scores are tied, and ours is one of the updates with the least."""
    scores = arbiter.scores(arbiter.squared_distances(sent.rows), sent.malicious)
    chosen = [i for i, row in enumerate(sent.rows) if (row == KRUM.ours(sent)).all()]
    return arbiter.are_tied(scores, 1) and arbiter.is_best(scores, chosen[:1])


def multikrum_ties(sent: Sent) -> bool:
    """Return whether the scores are tied, and the n - f of ours are among the least."""
    scores = arbiter.scores(arbiter.squared_distances(sent.rows), sent.malicious)
    order = np.argsort(
        krum_scores(Points(sent.updates).central(Use.SELECT).distances, sent.malicious), kind="stable"
    )
    return arbiter.are_tied(scores, honest(sent)) and arbiter.is_best(scores, order[: honest(sent)])


def bulyan_ties(sent: Sent) -> bool:
    """Return whether a selection meets a tie, and each of ours is one of the least scores."""
    count, exact = len(sent.rows) - 2 * sent.malicious, arbiter.squared_distances(sent.rows)
    found = selection(squared_distances(sent.updates), exact, sent.malicious, count)
    return arbiter.iterated(exact, sent.malicious, count)[0] and found.excess <= arbiter.TIE


def values_tie(sent: Sent) -> bool:
    """Return whether, where Bulyan's results differ, two values are equally far from the median."""
    if not sent.malicious:  # the mean of all
        return False
    count, exact = len(sent.rows) - 2 * sent.malicious, arbiter.squared_distances(sent.rows)
    selected = sent.wide[arbiter.iterated(exact, sent.malicious, count)[1]]
    apart = np.sort(np.abs(selected - np.median(selected, axis=0)), axis=0)
    kept = count - 2 * sent.malicious
    tied = apart[kept] - apart[kept - 1] <= rounding(sent, np.abs(selected).max(axis=0))
    theirs = FLOWERS_BULYAN.theirs(sent).astype(np.float64)
    differs = np.abs(FLOWERS_BULYAN.ours(sent) - theirs) > FLOWERS_BULYAN.tolerance(sent, theirs)
    return bool(tied[differs].all())


def neighbours_tie(sent: Sent) -> bool:
    """Return whether the distances of a row are tied, and all of our neighbours are nearest."""
    exact = arbiter.squared_distances(sent.rows)
    groups = nearest_neighbours(Points(sent.updates), sent.malicious).stages[0]
    right = all(arbiter.is_best(row, group) for row, group in zip(exact, groups, strict=True))
    return right and any(arbiter.are_tied(row, honest(sent)) for row in exact)


def selected_once_differs(sent: Sent) -> bool:
    """Return whether ranking once selects others than iterating, and who iterates agrees with ours."""
    distances, count = arbiter.squared_distances(sent.rows), len(sent.rows) - 2 * sent.malicious
    once = sorted(np.argsort(arbiter.scores(distances, sent.malicious), kind="stable")[:count])
    iterated = arbiter.iterated(distances, sent.malicious, count)[1]
    return once != iterated and FLOWERS_BULYAN.agree(sent, FLOWERS_BULYAN.ours(sent))


def medians_differ_by(sent: Sent, least: float) -> bool:
    """Return whether the mean of distances at ours is that at the oracle's, up to a share of the radius."""
    ours, theirs = GEOMETRIC_MEDIAN.ours(sent), GEOMETRIC_MEDIAN.theirs(sent)
    further = arbiter.further(sent.rows, ours, theirs) / len(sent.rows)
    return further <= least * arbiter.majority_radius(sent.rows)


TIE = "a tie of scores"
KRUM_TIE = (TIE, krum_ties)
MULTIKRUM_TIE = (TIE, multikrum_ties)
BULYAN_TIE = (TIE, bulyan_ties)
VALUES_TIE = ("two values equally far from the median", values_tie)
NEIGHBOURS_TIE = ("a tie of distances", neighbours_tie)


def once_adapted(reason: str, comparison: Comparison) -> Reason:
    """Return the reason that is gone when the oracle is adapted: then it agrees."""
    return reason, lambda sent: comparison.agree(sent, comparison.ours(sent))


def as_it_is(adapted: Comparison, theirs: Rule, reason: str, *others: Reason, oracle: str = "") -> Comparison:
    """Return the comparison with an oracle as its authors wrote it."""
    return Comparison(
        rule=adapted.rule,
        oracle=oracle or adapted.oracle,
        ours=adapted.ours,
        theirs=theirs,
        most_malicious=adapted.most_malicious,
        tolerance=adapted.tolerance,
        reasons=(once_adapted(reason, adapted), *(others or adapted.reasons)),
    )


# --- the list -------------------------------------------------------------------------------------


def within_radius(sent: Sent, theirs: Result) -> Result:
    """Return a thousandth of the majority's radius: both stop on the way to a limit."""
    return rounding(sent, theirs) + 1e-3 * arbiter.majority_radius(sent.rows)


def within_lengths(sent: Sent, theirs: Result) -> Result:
    """Return the rounding of shares of changes that are as long as the radius."""
    kind = LENGTH[sent.rows.dtype]
    return rounding(sent, theirs) + kind * (np.abs(sent.model) + byzfl_rules.radius(sent))


def after_steps(sent: Sent, _theirs: Result) -> Result:
    """Return what a rounding of the mean becomes in steps: tau divides it where a weight hardly changes."""
    gain = optimizers.LR / optimizers.TAU
    return np.tile(gain * rounding(sent, sent.scale), len(optimizers.PACES))


KRUM = Comparison(
    rule="Krum",
    oracle="ByzFL Krum",
    adapted="given f + 1, so that it sums the paper's n - f - 2 neighbours",
    ours=partial(apply, "Krum"),
    theirs=byzfl_rules.krum,
    most_malicious=of_krum,
    tolerance=none,
    reasons=(KRUM_TIE,),
)
MULTIKRUM = Comparison(
    rule="MultiKrum",
    oracle="ByzFL MultiKrum",
    adapted="given f + 1 for the neighbours and f for the mean",
    ours=partial(apply, "MultiKrum"),
    theirs=byzfl_rules.multikrum,
    most_malicious=of_krum,
    tolerance=as_large_as_found,
    reasons=(MULTIKRUM_TIE,),
)
GEOMETRIC_MEDIAN = Comparison(
    rule="GeometricMedian",
    oracle="ByzFL GeometricMedian",
    adapted=f"{byzfl_rules.STEPS} steps from the median of the coordinates, "
    "nu a share of the majority's radius",
    ours=partial(apply, "GeometricMedian"),
    theirs=byzfl_rules.geometric_median,
    tolerance=within_radius,
    reasons=(
        ("another point with the same mean of distances", partial(medians_differ_by, least=1e-7)),
        (
            "ours stops after 100 steps, the mean of distances larger by less than 1e-3 radii",
            partial(medians_differ_by, least=1e-3),
        ),
    ),
)
CLIPPING = Comparison(
    rule="CenteredClipping",
    oracle="ByzFL CenteredClipping",
    adapted="around the model that was sent, a new object a round",
    ours=lambda sent: apply("CenteredClipping", sent, clipping_radius=byzfl_rules.radius(sent)),
    theirs=byzfl_rules.clipping,
    tolerance=within_lengths,
)
BYZFL = (
    Comparison(
        rule="FedAvg", oracle="ByzFL Average", ours=partial(apply, "FedAvg"), theirs=byzfl_rules.average
    ),
    Comparison(
        rule="FedMedian",
        oracle="ByzFL Median",
        ours=partial(apply, "FedMedian"),
        theirs=byzfl_rules.median,
        tolerance=as_large_as_found,
    ),
    Comparison(
        rule="FedTrimmedAvg",
        oracle="ByzFL TrMean",
        ours=our_trimmed,
        theirs=byzfl_rules.trimmed,
        tolerance=as_large_as_found,
    ),
    KRUM,
    as_it_is(KRUM, byzfl_rules.krum_as_it_is, "ByzFL sums n - f - 1 neighbours, the paper n - f - 2"),
    MULTIKRUM,
    as_it_is(
        MULTIKRUM, byzfl_rules.multikrum_as_it_is, "ByzFL sums n - f - 1 neighbours, the paper n - f - 2"
    ),
    GEOMETRIC_MEDIAN,
    as_it_is(
        GEOMETRIC_MEDIAN,
        byzfl_rules.geometric_median_as_it_is,
        "ByzFL stops after 3 steps from zero, with nu = 0.1 at every scale",
    ),
    CLIPPING,
    as_it_is(CLIPPING, byzfl_rules.clipping_as_it_is, "ByzFL clips around zero in its first round"),
    Comparison(
        rule="Robust",
        oracle="ByzFL NNM, TrMean",
        ours=partial(apply, "Robust"),
        theirs=byzfl_rules.robust,
        tolerance=as_large_as_found,
        reasons=(NEIGHBOURS_TIE,),
    ),
    Comparison(
        rule="NNM, FedTrimmedAvg",
        oracle="ByzFL NNM, TrMean",
        ours=partial(our_trimmed, pre="NNM"),
        theirs=byzfl_rules.robust,
        tolerance=as_large_as_found,
        reasons=(NEIGHBOURS_TIE,),
    ),
    Comparison(
        rule="bucketing, FedMedian",
        oracle="ByzFL Bucketing, Median",
        adapted="its buckets in the order that ours draws",
        ours=partial(apply, "FedMedian", pre="bucketing"),
        theirs=before(buckets, byzfl_rules.median),
    ),
)

OVERFLOW = "Flower's float32 squares overflow or cancel; in float64 it agrees"
FLOWERS_KRUM = Comparison(
    rule="Krum",
    oracle="flwr.serverapp Krum",
    adapted="given the updates in float64",
    ours=partial(apply, "Krum"),
    theirs=partial(flower_rules.krum, wide=True),
    most_malicious=of_krum,
    tolerance=none,
    reasons=(KRUM_TIE,),
)
FLOWERS_OLDER_KRUM = replace(
    FLOWERS_KRUM, oracle="flwr.server aggregate_krum", theirs=partial(flower_rules.older_krum, wide=True)
)
FLOWERS_MULTIKRUM = Comparison(
    rule="MultiKrum",
    oracle="flwr.serverapp MultiKrum",
    adapted="selecting n - f, all with the same examples, given the updates in float64",
    ours=partial(apply, "MultiKrum"),
    theirs=partial(flower_rules.multikrum, wide=True),
    most_malicious=of_krum,
    tolerance=as_large_as_found,
    reasons=(MULTIKRUM_TIE,),
)
FLOWERS_BULYAN = Comparison(
    rule="Bulyan",
    oracle="flwr.server aggregate_bulyan",
    adapted="given the updates in float64",
    ours=partial(apply, "Bulyan"),
    theirs=partial(flower_rules.older_bulyan, wide=True),
    most_malicious=of_bulyan,
    tolerance=as_large_as_found,
    reasons=(BULYAN_TIE, VALUES_TIE),
)
FLOWER = (
    Comparison(
        rule="FedAvg",
        oracle="flwr.serverapp FedAvg",
        ours=partial(weighted, "FedAvg"),
        theirs=lambda sent: flower_rules.fedavg(sent, weights_of(sent)),
    ),
    Comparison(
        rule="FedMedian",
        oracle="flwr.serverapp FedMedian",
        ours=partial(apply, "FedMedian"),
        theirs=flower_rules.median,
        tolerance=as_large_as_found,
    ),
    Comparison(
        rule="FedTrimmedAvg",
        oracle="flwr.serverapp FedTrimmedAvg",
        ours=our_trimmed,
        theirs=lambda sent: flower_rules.trimmed(sent, beta_of(sent)),
        tolerance=as_large_as_found,
    ),
    FLOWERS_KRUM,
    as_it_is(FLOWERS_KRUM, flower_rules.krum, OVERFLOW),
    FLOWERS_OLDER_KRUM,
    as_it_is(FLOWERS_OLDER_KRUM, flower_rules.older_krum, OVERFLOW),
    FLOWERS_MULTIKRUM,
    as_it_is(FLOWERS_MULTIKRUM, flower_rules.multikrum, OVERFLOW),
    FLOWERS_BULYAN,
    as_it_is(FLOWERS_BULYAN, flower_rules.older_bulyan, OVERFLOW),
    Comparison(
        rule="Bulyan",
        oracle="flwr.serverapp Bulyan",
        adapted="given the updates in float64",
        ours=partial(apply, "Bulyan"),
        theirs=flower_rules.bulyan,
        most_malicious=of_bulyan,
        tolerance=as_large_as_found,
        reasons=(
            ("Flower ranks the updates once, the paper after each selection", selected_once_differs),
            BULYAN_TIE,
            VALUES_TIE,
        ),
    ),
    *(
        Comparison(
            rule=name,
            oracle=f"flwr.serverapp {name}",
            ours=partial(optimizers.ours, name),
            theirs=partial(optimizers.flowers, name),
            tolerance=after_steps,
            largest=1e12,
        )
        for name in ("FedAdagrad", "FedAdam", "FedAvgM", "FedYogi")
    ),
)

ALL = (*BYZFL, *FLOWER)
"""Every comparison, in the order of the table."""
