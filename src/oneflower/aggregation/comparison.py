"""What only the comparison of a round's updates shows, and the order in which rules take them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from oneflower.aggregation.checks import check_shares
from oneflower.aggregation.updates import Ordered, Update, ordered

LONGEST_REASON = 300
"""Characters of a reason: names and error texts come from clients and go into logs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """An update, or a part of one, that is not used, and why."""

    client: int
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
    reasons = dict(enumerate(check_shares([update.num_examples for update in sent])))
    plausible = [i for i, reason in reasons.items() if reason is None]
    expected = _expected_metrics([sent[i] for i in plausible])
    reasons |= {i: _missing_metrics(sent[i], expected) for i in plausible}
    kept = [sent[i] for i, reason in reasons.items() if reason is None]
    return Checked(
        valid=ordered(kept),
        rejected=_by_client(Rejection(client=sent[i].client, reason=r) for i, r in reasons.items() if r),
        remarks=_by_client(remark for update in kept if (remark := _unexpected_metrics(update, expected))),
    )


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
    return Rejection(client=update.client, reason=reason)
