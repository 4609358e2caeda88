"""How many clients each round had: a round counts when it is over, or when its try has failed."""

import pytest

from oneflower.journal import reduce
from oneflower.monitor.state.attendance import counts

from ...making import entry

STARTED = entry("round_started", round=1, rounds=3, clients=3)
BAD = entry("client_quarantined", round=1, client="7", reason="NaN")
FAILED = entry("round_failed", round=1, attempt=1, valid=2, needed=3, reason="few")
DONE = entry("round_completed", round=1, rounds=3, valid=2, seconds=1.0)


def test_a_round_that_has_just_begun_has_no_bar_of_its_bad_clients_alone():
    assert counts(reduce([STARTED, BAD])) == {}


@pytest.mark.parametrize(
    "ending",
    [
        [FAILED, STARTED],
        [entry("run_lost", reason="x")],
        [entry("training_failed", reason="x")],
    ],
)
def test_a_round_that_did_not_end_well_shows_whom_it_went_without(ending):
    assert counts(reduce([STARTED, BAD, *ending])) == {1: {"valid": 0, "quarantined": 1}}


def test_a_completed_round_shows_both():
    assert counts(reduce([STARTED, BAD, DONE])) == {1: {"valid": 2, "quarantined": 1}}
