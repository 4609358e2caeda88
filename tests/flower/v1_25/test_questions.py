"""Questions that wait for work without a thread, and ServerApps that wait for replies."""

import threading

import pytest

from oneflower.flower.v1_25 import questions
from oneflower.flower.v1_25.questions import LONGEST_S, SHORTEST_S, Questions, Replies, Why


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Pool:
    """Runs what is submitted at once."""

    def submit(self, function, *arguments):
        function(*arguments)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def waiting(clock):
    found = Questions(clock=clock)
    found._pool = Pool()
    return found


def hold(waiting, node, *, since=0, ends=1e9):
    answers = []
    return answers, waiting.hold(node, since=since, ends=ends, resume=answers.append)


def test_an_arrival_wakes_its_node_alone_and_once(waiting):
    (first, _), (second, _) = hold(waiting, 1), hold(waiting, 2)
    waiting.wake(1)
    waiting.wake(1)
    assert (first, second) == ([Why.FOUND], [])
    assert len(waiting) == 1


def test_an_arrival_before_the_question_was_asked_wakes_nobody_after_it_does(waiting):
    waiting.wake(1)
    with waiting.patient() as since:
        waiting.wake(1)
    late, _ = hold(waiting, 1, since=since)
    with waiting.patient() as since:
        pass
    early, _ = hold(waiting, 1, since=since)
    assert (late, early) == ([Why.FOUND], [])


def test_the_newest_question_of_a_node_waits(waiting):
    (first, _), (second, _) = hold(waiting, 1), hold(waiting, 1)
    assert (first, second) == ([Why.REPLACED], [])
    assert len(waiting) == 1


def test_a_question_ends_with_its_time(waiting, clock):
    (long, _), (short, _) = hold(waiting, 1, ends=110.0), hold(waiting, 2, ends=105.0)
    assert waiting.end_due() == pytest.approx(5.0)
    clock.now = 105.0
    assert waiting.end_due() == pytest.approx(5.0)
    assert (long, short) == ([], [Why.ENDED])
    clock.now = 110.0
    assert waiting.end_due() is None
    assert long == [Why.ENDED]


def test_who_is_gone_gets_no_answer(waiting, clock):
    answers, forget = hold(waiting, 1, ends=105.0)
    forget()
    waiting.wake(1)
    clock.now = 105.0
    assert waiting.end_due() is None
    assert answers == []
    assert len(waiting) == 0


def test_to_forget_an_old_question_leaves_the_new_one(waiting):
    _, forget = hold(waiting, 1)
    answers, _ = hold(waiting, 1)
    forget()
    waiting.wake(1)
    assert answers == [Why.FOUND]


def test_many_nodes_ask_less_often(waiting, clock):
    assert waiting.ends() == clock.now + SHORTEST_S
    for node in range(600):
        hold(waiting, node)
    assert waiting.ends() == pytest.approx(clock.now + 600 / questions.A_SECOND)
    for node in range(5000):
        hold(waiting, node)
    assert waiting.ends() == clock.now + LONGEST_S


def test_only_a_question_that_may_wait_does(waiting):
    assert not waiting.may_wait()
    with waiting.patient():
        assert waiting.may_wait()
        found = []
        thread = threading.Thread(target=lambda: found.append(waiting.may_wait()))
        thread.start()
        thread.join()
        assert found == [False], "it is of one thread"
    assert not waiting.may_wait()


def test_a_server_app_waits_until_a_reply_comes():
    replies, since = Replies(), 0
    thread = threading.Thread(target=replies.wait, args=(since, 60.0))
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    replies.came()
    thread.join(20)
    assert not thread.is_alive()
    replies.wait(since, 60.0)  # one has come since


def test_no_more_server_apps_wait_than_have_threads(monkeypatch):
    monkeypatch.setattr(questions, "MOST_WAITING", 0)
    assert not Replies().wait(0, 60.0)
