"""Write to the journal what the updates of a round show: who is far, who changes much, who was not used."""

from collections.abc import Sequence
from typing import Final

from oneflower.aggregation import Arrays, Ordered, Update, inspect, inspect_changes
from oneflower.journal.events import UpdatesMeasured
from oneflower.training.driver import Driver
from oneflower.training.phases import Phases

MOST_CLIENTS: Final = 500
"""In one event: a line of 25 kB."""


def record_measured(  # noqa: PLR0913 - one for each thing that is compared
    phases: Phases,
    server_round: int,
    updates: Ordered,
    came: Sequence[Update],
    driver: Driver,
    *,
    sent: Arrays,
    new: Arrays,
) -> None:
    """Measure the updates as they came, before any bound, in the order in which the rule took them.

    Where their changes were taken as they came, the updates are not read again: there are no distances.
    """
    shares, changes = driver.shares, driver.changes
    by_client = {update.client: update for update in came}
    ordered = Ordered(tuple(by_client[update.client] for update in updates))
    found = inspect(ordered, sent, new) if changes is None else inspect_changes(ordered, changes)
    weights: list[float] = []
    if shares is not None and None not in shares.values():
        weights = [_short(shares.get(client) or 0.0) for client in found.clients]
    used = () if shares is None else tuple(int(client in shares) for client in found.clients)
    for start in range(0, len(found.clients), MOST_CLIENTS):
        part = slice(start, start + MOST_CLIENTS)
        phases.record(
            UpdatesMeasured(
                round=server_round,
                clients=tuple(map(str, found.clients[part])),
                distances=tuple(map(_short, found.distances[part])),
                changes=tuple(map(_short, found.changes[part])),
                weights=tuple(weights[part]),
                selected=used[part],
            )
        )


def _short(value: float) -> float:
    """Return four digits: a thousand clients make long lines."""
    return float(f"{value:.4g}")
