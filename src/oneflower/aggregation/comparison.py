"""What only the comparison of a round's updates shows, and the order in which rules take them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from oneflower.aggregation.checks import check_shares
from oneflower.aggregation.updates import Ordered, Update, ordered
from oneflower.codes import LeftOutCode

LONGEST_REASON = 300
"""Characters of a reason: names and error texts come from clients and go into logs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """An update, or a part of one, that is not used, and why."""

    client: int
    code: LeftOutCode
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The updates of a round after all checks.

    Attributes
    ----------
    valid
        Updates to aggregate.
    rejected
        Updates to leave out, by client.
    remarks
        Parts of valid updates that are ignored, such as a metric that only this client sends.
    """

    valid: Ordered
    rejected: tuple[Rejection, ...] = ()
    remarks: tuple[Rejection, ...] = ()


def check_together(updates: Iterable[Update]) -> Checked:
    """Check what only all updates of a round together can tell, and put the valid ones in order.

    A client is left out whose num-examples is absurd beside the others', or that lacks a metric that
    more than half of the clients send. A metric that at most half of them send is a remark.
    """
    sent = list(updates)
    shares = check_shares([update.num_examples for update in sent])
    absurd = {update: reason for update, reason in zip(sent, shares, strict=True) if reason}
    plausible = [update for update in sent if update not in absurd]
    expected = _expected_metrics(plausible)
    lacking = {update: reason for update in plausible if (reason := _missing_metrics(update, expected))}
    kept = [update for update in plausible if update not in lacking]
    rejected = [
        *(_rejected(update, LeftOutCode.NUM_EXAMPLES, reason) for update, reason in absurd.items()),
        *(_rejected(update, LeftOutCode.METRICS, reason) for update, reason in lacking.items()),
    ]
    return Checked(
        valid=ordered(kept),
        rejected=_by_client(rejected),
        remarks=_by_client(remark for update in kept if (remark := _unexpected_metrics(update, expected))),
    )


def _rejected(update: Update, code: LeftOutCode, reason: str) -> Rejection:
    return Rejection(client=update.client, code=code, reason=reason)


def _by_client(rejections: Iterable[Rejection]) -> tuple[Rejection, ...]:
    return tuple(sorted(rejections, key=lambda rejection: rejection.client))


def _expected_metrics(updates: Sequence[Update]) -> set[str]:
    counts = Counter(key for update in updates for key in update.metrics)
    return {key for key, count in counts.items() if 2 * count > len(updates)}


def _missing_metrics(update: Update, expected: set[str]) -> str | None:
    missing = sorted(expected - set(update.metrics))
    return f"metrics {missing} are missing, which most clients send"[:LONGEST_REASON] if missing else None


def _unexpected_metrics(update: Update, expected: set[str]) -> Rejection | None:
    extra = sorted(set(update.metrics) - expected)
    if not extra:
        return None
    reason = f"metrics {extra} are ignored; at most half of the clients send them"[:LONGEST_REASON]
    return _rejected(update, LeftOutCode.METRICS, reason)
