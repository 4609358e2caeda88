"""How many updates each rule needs before its promise holds."""

from collections.abc import Sequence

from oneflower.aggregation.errors import AggregationError
from oneflower.aggregation.updates import Update

MINIMUM_PER_MALICIOUS = {"Krum": 2, "Bulyan": 4}


def minimum_clients(strategy: str, num_malicious: int = 0) -> int:
    """Return the least number of updates for which the rule of this strategy keeps its promise.

    Krum needs n >= 2f + 3 (Blanchard et al. 2017, proposition 1), Bulyan n >= 4f + 3 (El Mhamdi et al.
    2018, section 4). The means need one.
    """
    if strategy not in MINIMUM_PER_MALICIOUS:
        return 1
    return MINIMUM_PER_MALICIOUS[strategy] * num_malicious + 3


def require(strategy: str, updates: Sequence[Update], num_malicious: int = 0) -> None:
    """Raise AggregationError where fewer updates are there than the rule needs."""
    needed = minimum_clients(strategy, num_malicious)
    if len(updates) >= needed:
        return
    why = f" with {num_malicious} malicious clients assumed" if strategy in MINIMUM_PER_MALICIOUS else ""
    raise AggregationError(
        f"{strategy} was given {len(updates)} valid updates; expected at least {needed}{why}: "
        "wait for more clients, or lower FL_NUM_MALICIOUS"
        if why
        else f"{strategy} was given no valid update; expected at least one: wait for more clients"
    )
