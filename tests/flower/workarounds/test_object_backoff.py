"""How long is waited for an object that is not there yet."""

import time

import pytest
from flwr.common.inflatable_utils import ObjectUnavailableError, pull_objects

from oneflower.flower.workarounds.object_backoff import WORKAROUND


@pytest.fixture
def pauses(monkeypatch):
    """Pull an object that is there at the third time of asking; return the pauses in between."""

    def pull():
        made = []
        monkeypatch.setattr("threading.Event.wait", lambda _self, timeout=None: made.append(timeout))
        asked = []

        def get(object_id):
            asked.append(time.monotonic())
            if len(asked) < 3:
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
    apply(WORKAROUND)
    first, second = pauses()
    assert first < 0.03
    assert second < 0.06
