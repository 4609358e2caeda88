"""A journal that is read in a thread of its own."""

from oneflower.journal import Journal, JournalTail


def test_what_was_written_before_the_tail_is_finished_can_be_drained(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    with JournalTail(journal.path) as tail:
        for number in range(500):
            journal.append("round_started", round=number)
        tail.finish()
        assert [event["round"] for event in tail.drain()] == list(range(500))
        assert list(tail.drain()) == []
