"""A round whose end was never told."""

import pytest

from oneflower.journal import Journal, codec, read_backwards, read_journal, unfinished_round

from ..making import event

STARTED, AGGREGATED, COMPLETED = "round_started", "round_aggregated", "round_completed"


def valid(tag, number):
    return {} if tag == STARTED else {"valid": number}


def test_the_journal_is_read_backwards_as_it_is_read_forwards(tmp_path, monkeypatch):
    """Over rotated files, torn lines, and blocks of any size."""
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, max_bytes=2000)
    for number in range(40):
        journal.append(event("client_joined", client="ü" * number))
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
        for tag in (STARTED, AGGREGATED, COMPLETED):
            journal.append(event(tag, round=number))
    journal.append(event(AGGREGATED, round=3000, valid=3))
    decoded = []
    real = codec.entry_of_line
    monkeypatch.setattr(codec, "entry_of_line", lambda line: decoded.append(line) or real(line))
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
    for tag, number in told:
        journal.append(event(tag, round=number))
    found = unfinished_round(journal.path, 4)
    assert (found is not None) == unfinished
    if found:
        assert found.valid == 3
        assert found.seconds >= 0


def test_rounds_of_another_run_between_do_not_hide_whose_a_round_is(tmp_path):
    """The search goes back beyond two rounds where two runs write by turns."""
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(event("run_submitted"), run=1)
    for number in range(1, 9):
        for tag in (STARTED, AGGREGATED, COMPLETED):
            journal.append(event(tag, round=number, **valid(tag, 3)), run=1)
            journal.append(event(tag, round=number, **valid(tag, 9)), run=2)
    journal.append(event(AGGREGATED, round=9, valid=3), run=1)
    journal.append(event("training_resumed", round=8), run=2)
    journal.append(event(COMPLETED, round=9, valid=9), run=2)
    with journal.path.open("a") as file:
        file.write('{"event": "round_completed", "run": 1, "round": "damaged"}\n')
    assert unfinished_round(journal.path, 9).valid == 3
    assert unfinished_round(journal.path, 8) is None
