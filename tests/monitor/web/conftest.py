"""What the tests of the page share."""

import pytest

from oneflower.journal import Journal

from ...making import event


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(event("training_started", round=0, rounds=3, strategy="FedAvg", parameters={}, app="a/b"))
    return journal
