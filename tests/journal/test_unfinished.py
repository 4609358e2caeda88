"""A round whose end was never told."""

import pytest

from oneflower.journal import Journal, unfinished_round

STARTED, AGGREGATED, COMPLETED = "round_started", "round_aggregated", "round_completed"


@pytest.mark.parametrize(
    ("told", "unfinished"),
    [
        ([], False),
        ([(STARTED, 4)], False),
        ([(STARTED, 4), (AGGREGATED, 4)], True),
        ([(STARTED, 4), (AGGREGATED, 4), (COMPLETED, 4)], False),
        ([(AGGREGATED, 4), (COMPLETED, 4), (STARTED, 4), (AGGREGATED, 4)], True),
        ([(AGGREGATED, 4), (COMPLETED, 3), (STARTED, 5)], True),
    ],
)
def test_a_round_is_unfinished_from_its_aggregation_to_its_completion(tmp_path, told, unfinished):
    journal = Journal(tmp_path / "journal.jsonl")
    for event, number in told:
        journal.append(event, round=number, valid=3)
    found = unfinished_round(journal.path, 4)
    assert (found is not None) == unfinished
    if found:
        assert found.valid == 3
        assert found.seconds >= 0
