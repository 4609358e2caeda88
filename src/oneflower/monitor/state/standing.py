"""How each client stands: who has answered, who is waited for, who is in trouble, who is gone."""

from enum import StrEnum
from typing import Final

from oneflower.codes import Outcome, Phase
from oneflower.journal import TrainingState
from oneflower.journal.state.records import Client


class Standing(StrEnum):
    """How a client stands in the round that runs, or in the last one. The order is that of trouble."""

    QUARANTINED = "quarantined"
    FAILED = "failed"
    ABSENT = "absent"
    WAITED_FOR = "not yet"
    ANSWERED = "answered"
    NOT_DRAWN = "not drawn"
    GONE = "gone"


# Signs distinguish them without colour.
SIGNS: Final = {
    Standing.QUARANTINED: "◆",
    Standing.FAILED: "✕",
    Standing.ABSENT: "◌",
    Standing.WAITED_FOR: "…",
    Standing.ANSWERED: "✓",
    Standing.NOT_DRAWN: "·",
    Standing.GONE: "○",
}
HERE: Final = frozenset({Standing.ANSWERED, Standing.WAITED_FOR, Standing.QUARANTINED, Standing.NOT_DRAWN})
_QUIET: Final = frozenset({Standing.ABSENT, Standing.WAITED_FOR, Standing.ANSWERED})
"""How a client stands that may not have been asked in the round; one that was in trouble stays so."""
TROUBLED: Final = frozenset({Standing.QUARANTINED, Standing.FAILED, Standing.ABSENT})


def standing(view: TrainingState, client: Client) -> Standing:
    """Return how one client stands."""
    if view.own_loop is not None and (client.rounds or client.last_seen):
        # Its id is the same in each run, and replies of before are given again.
        return Standing(next(reversed(client.rounds.values()), Outcome.ANSWERED).value)
    stands = _in_rounds(view, client)
    if not (view.drawn and client.connected and client.name not in view.drawn and stands in _QUIET):
        return stands
    last = next(reversed(client.rounds.values()), Outcome.ANSWERED)
    return Standing.NOT_DRAWN if last is Outcome.ANSWERED else Standing(last.value)


def _in_rounds(view: TrainingState, client: Client) -> Standing:
    before = client.last_seen is not None and view.began is not None and client.last_seen < view.began
    if client.gone or before:
        return Standing.GONE
    if client.connected is False:
        return Standing.ABSENT
    last, outcome = next(reversed(client.rounds.items()), (0, None))
    current = max(view.started_round, view.done)
    if outcome is not None and last >= current:
        return Standing(outcome.value)
    recent = outcome is not None and last == current - 1
    running = view.started_round > view.done and view.phase is Phase.TRAINING
    if running and (client.connected or (recent and outcome is not Outcome.FAILED)):
        return Standing.WAITED_FOR
    if outcome is not None and (recent or client.connected):
        return Standing(outcome.value)
    return Standing.WAITED_FOR if client.connected else Standing.ABSENT


def connected(state: TrainingState) -> list[Client]:
    """Return the clients that are connected, as far as the journal says, by name."""
    known = [client for client in state.roster.values() if client.connected is not None]
    here = (
        [client for client in known if client.is_here]
        if known
        else [client for client in state.roster.values() if standing(state, client) in HERE]
    )
    return sorted(here, key=lambda client: client.shown)


def by_trouble(view: TrainingState) -> list[tuple[Client, Standing]]:
    """Return all clients, those in trouble first, then those who once were, then by name."""
    order = list(Standing)
    stands = [(client, standing(view, client)) for client in view.roster.values()]
    return sorted(stands, key=lambda pair: (_rank(order, *pair), pair[0].shown))


def _rank(order: list[Standing], client: Client, stands: Standing) -> tuple[bool, int, int]:
    spots = client.failures + client.quarantines
    return stands is Standing.GONE, order.index(stands) if stands in TROUBLED else len(order), -spots
