"""The load generator counts what is missing, and samples a soak to its end."""

import importlib
from itertools import product
from pathlib import Path

import pytest

from oneflower.codes import Task
from oneflower.journal.events import ReplyReceived

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def scale(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("scale")


def test_a_reply_that_never_came_is_lost_and_so_is_each_of_a_round_that_was_not_run(scale):
    phases, staying = (Task.TRAIN, Task.EVALUATE), ["11", "12"]
    replies = [
        ReplyReceived(round=1, phase=phase, client=client) for phase, client in product(phases, staying)
    ]
    leaving = ReplyReceived(round=1, phase=Task.TRAIN, client="13")
    assert scale.without_reply([*replies, leaving], {1}, staying) == 0
    assert scale.without_reply([*replies[1:], leaving], {1}, staying) == 1
    assert scale.without_reply(replies, {1, 2}, staying) == 4


@pytest.mark.parametrize("samples", [3, 10, 96])
def test_a_soak_shows_ten_samples_the_last_among_them(scale, samples):
    found = scale.each_tenth([{"rss": number << 20} for number in range(samples)], "rss")
    assert len(found) == 10
    assert found[-1] == samples - 1
    assert list(found[1:]) == sorted(found[1:])
