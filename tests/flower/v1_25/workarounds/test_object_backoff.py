"""How long is waited for an object that is not there yet."""

import time

import pytest
from flwr.common.inflatable_utils import ObjectUnavailableError, pull_objects

from oneflower.flower.v1_25.workarounds.pauses import OBJECTS


@pytest.fixture
def pauses(monkeypatch):
    """Pull an object that is not there so many times; return the pauses in between."""

    def pull(times=2):
        made = []
        monkeypatch.setattr("threading.Event.wait", lambda _self, timeout=None: made.append(timeout))
        asked = []

        def get(object_id):
            asked.append(time.monotonic())
            if len(asked) <= times:
                raise ObjectUnavailableError(object_id)
            return b"content"

        monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor", Inline)
        pull_objects(["id"], get)
        return made

    return pull


class Inline:
    """An executor that runs everything at once, in this thread."""

    def __init__(self, **_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def map(self, function, arguments):
        return list(map(function, arguments))


def test_flower_waits_a_second_and_then_two(pauses):
    first, second = pauses()
    assert 0.8 <= first <= 1.2
    assert 1.6 <= second <= 2.4


def test_the_pauses_start_at_a_few_milliseconds(pauses, apply):
    apply(OBJECTS)
    first, second = pauses()
    assert first < 0.03
    assert second < 0.06


def test_flower_pauses_up_to_ten_seconds(pauses):
    assert max(pauses(12)) > 8.0


def test_an_object_that_came_late_is_noticed_within_a_second(pauses, apply):
    apply(OBJECTS)
    assert max(pauses(12)) <= 1.2


def test_a_slow_upload_is_waited_for_as_long_as_with_flower(pauses, apply):
    """More pauses, because they are shorter, must not use up the tries: it is the time that counts."""
    apply(OBJECTS)
    assert len(pauses(2000)) == 2000
