"""Compare the updates of a round: bound what one client may weigh and change, and say whose was bounded."""

from logging import WARNING

from oneflower.aggregation import Arrays, Ordered, Remark, Update, check_together
from oneflower.codes import LeftOutCode
from oneflower.flower.api import log
from oneflower.journal.events import ClientBounded
from oneflower.training.collected import Collected
from oneflower.training.driver import Driver
from oneflower.training.phases import Phases


def plausible_updates(
    phases: Phases, strategy: Driver, server_round: int, model: Arrays, collected: Collected[Update]
) -> Ordered:
    """Return the valid updates of a round in their order, each within the bounds of the round."""
    checked = check_together(collected.valid, strategy.max_weight)
    bounded = strategy.bounded(model, checked.valid, quarantined=collected.quarantined)
    for remark in (*checked.remarks, *bounded.remarks):
        _tell(phases, server_round, remark)
    return bounded.updates


def _tell(phases: Phases, server_round: int, remark: Remark) -> None:
    if remark.code is LeftOutCode.METRICS:
        log(WARNING, "metrics differ client=%s reason=%s", phases.label(remark.client), remark.reason)
        return
    log(
        WARNING,
        "client bounded round=%d client=%s reason=%s",
        server_round,
        phases.label(remark.client),
        remark.reason,
    )
    phases.record(
        ClientBounded(round=server_round, client=str(remark.client), code=remark.code, reason=remark.reason)
    )
