"""A round whose end was never told."""

import pytest

from oneflower.journal import Journal, read_backwards, read_journal, records, unfinished_round

STARTED, AGGREGATED, COMPLETED = "round_started", "round_aggregated", "round_completed"


def test_the_journal_is_read_backwards_as_it_is_read_forwards(tmp_path, monkeypatch):
    """Over rotated files, torn lines, and blocks of any size."""
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, max_bytes=2000)
    for number in range(40):
        journal.append("round_started", round=number, clients="ü" * number)
        if number % 7 == 0:
            with path.open("ab") as file:
                file.write(b'{"torn\n\xff\n')
    forwards = list(read_journal(path))
    assert len(forwards) > 20
    for size in (1, 7, 100, 1 << 20):
        monkeypatch.setattr("oneflower.journal.reader._BLOCK_BYTES", size)
        assert list(read_backwards(path)) == forwards[::-1]
    assert list(read_backwards(tmp_path / "none")) == []


def test_an_unfinished_round_is_found_without_reading_the_whole_journal(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "journal.jsonl")
    for number in range(1, 3000):
        for event in (STARTED, AGGREGATED, COMPLETED):
            journal.append(event, round=number, valid=3)
    journal.append(AGGREGATED, round=3000, valid=3)
    decoded = []
    real = records._record
    monkeypatch.setattr(records, "_record", lambda line: decoded.append(line) or real(line))
    assert unfinished_round(journal.path, 3000).valid == 3
    assert unfinished_round(journal.path, 2999) is None
    assert len(decoded) < 6000


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


def test_rounds_of_another_run_between_do_not_hide_whose_a_round_is(tmp_path):
    """The search goes back beyond two rounds where two runs write by turns."""
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append("run_submitted", run=1)
    for number in range(1, 9):
        for event in (STARTED, AGGREGATED, COMPLETED):
            journal.append(event, run=1, round=number, valid=3)
            journal.append(event, run=2, round=number, valid=9)
    journal.append(AGGREGATED, run=1, round=9, valid=3)
    journal.append("training_resumed", run=2, round=8)
    journal.append(COMPLETED, run=2, round=9, valid=9)
    journal.append("round_completed", run=1, round="damaged")
    assert unfinished_round(journal.path, 9).valid == 3
    assert unfinished_round(journal.path, 8) is None
