"""What only the comparison of a round's updates shows, and the order in which rules take them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median_low

from oneflower.aggregation.updates import WEIGHT, Ordered, Update, ordered
from oneflower.codes import LeftOutCode

LONGEST_REASON = 300
"""Characters of a reason: names and error texts come from clients and go into logs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """A part of an update that is not used as it came, and why; the rest of it is."""

    client: int
    code: LeftOutCode
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The updates of a round after all checks.

    Attributes
    ----------
    valid
        Updates to aggregate. None is left out here: whom the others outvote may be the honest one.
    remarks
        Parts of them that are ignored or were bounded, by client.
    """

    valid: Ordered
    remarks: tuple[Remark, ...] = ()


def check_together(updates: Iterable[Update], max_weight: float = 0.0) -> Checked:
    """Check what only all updates of a round together can tell, and put them in order.

    The weight of an update is at most `max_weight` times the median of all (0: as much as it says). A
    metric that at most half of the clients send is a remark, and so is a missing one that the others send.
    """
    sent = list(updates)
    expected = _expected_metrics(sent)
    bounded = _with_bounded_weights(sent, max_weight)
    remarks = [
        *(
            _bounded_remark(old, new, max_weight)
            for old, new in zip(sent, bounded, strict=True)
            if old is not new
        ),
        *(remark for update in sent if (remark := _unusual_metrics(update, expected))),
    ]
    return Checked(valid=ordered(bounded), remarks=tuple(sorted(remarks, key=lambda remark: remark.client)))


def lower_median(values: Iterable[float]) -> float:
    """Return the median, of an even number the lower of the two in the middle; 0 of none.

    The lower one: of two that differ, neither of which is known to be right, the smaller claim is used.
    """
    found = list(values)
    return median_low(found) if found else 0.0


def _with_bounded_weights(updates: Sequence[Update], most: float) -> list[Update]:
    if not most:
        return list(updates)
    largest = most * lower_median(update.num_examples for update in updates)
    return [
        update if update.num_examples <= largest else replace(update, num_examples=largest)
        for update in updates
    ]


def _bounded_remark(sent: Update, bounded: Update, most: float) -> Remark:
    return Remark(
        client=sent.client,
        code=LeftOutCode.NUM_EXAMPLES,
        reason=f"{WEIGHT} is {sent.num_examples:g}; expected at most {most:g} times the median of the round: "
        f"counted as {bounded.num_examples:g}",
    )


def _expected_metrics(updates: Sequence[Update]) -> set[str]:
    counts = Counter(key for update in updates for key in update.metrics)
    return {key for key, count in counts.items() if 2 * count > len(updates)}


def _unusual_metrics(update: Update, expected: set[str]) -> Remark | None:
    extra, missing = sorted(set(update.metrics) - expected), sorted(expected - set(update.metrics))
    reasons = []
    if extra:
        reasons.append(f"metrics {extra} are ignored; at most half of the clients send them")
    if missing:
        reasons.append(f"metrics {missing} are missing, which most clients send")
    if not reasons:
        return None
    reason = "; ".join(reasons)[:LONGEST_REASON]
    return Remark(client=update.client, code=LeftOutCode.METRICS, reason=reason)
