"""Who has answered, who is waited for, who is in trouble, who is gone."""

from datetime import UTC, datetime

import pytest

from oneflower.codes import Outcome, Task
from oneflower.journal import reduce
from oneflower.monitor.state.standing import Standing, by_trouble, standing

from ...making import entry


def at(second, tag, **fields):
    return entry(tag, at=datetime(2026, 1, 1, 10, 0, second, tzinfo=UTC), **fields)


def reply(second, number, client, phase=Task.TRAIN):
    return at(second, "reply_received", round=number, phase=phase, client=client, seconds=1.0)


def events():
    """Five clients; in round 2 `a` has answered, `b` is bad, `c` fails, `d` and `e` are waited for."""
    first = [reply(2, 1, client) for client in "abcde"]
    return [
        at(0, "training_started", rounds=5),
        at(1, "round_started", round=1, rounds=5, clients=5),
        *first,
        at(3, "round_completed", round=1, rounds=5, valid=5, seconds=1.0),
        at(4, "round_started", round=2, rounds=5, clients=5),
        reply(5, 2, "a"),
        at(5, "client_quarantined", round=2, client="b", reason="NaN"),
        at(5, "client_failed", round=2, client="c", reason="no answer"),
    ]


def stands(*more):
    view = reduce([*events(), *more])
    return {client.name: standing(view, client) for client in view.roster.values()}


def test_each_client_of_the_running_round_has_its_standing():
    assert stands() == {
        "a": Standing.ANSWERED,
        "b": Standing.QUARANTINED,
        "c": Standing.FAILED,
        "d": Standing.WAITED_FOR,
        "e": Standing.WAITED_FOR,
    }


def test_a_client_that_was_in_no_recent_round_is_absent():
    later = [
        at(6, "round_completed", round=2, rounds=5, valid=1, seconds=1.0),
        at(7, "round_started", round=3, rounds=5, clients=1),
        reply(8, 3, "a"),
    ]
    assert stands(*later)["d"] is Standing.ABSENT


def test_a_client_that_left_is_absent_and_one_that_joined_is_waited_for():
    left = at(6, "client_left", client="a", connected=4)
    joined = at(6, "client_joined", client="f", connected=5)
    found = stands(left, joined)
    assert (found["a"], found["f"]) == (Standing.ABSENT, Standing.WAITED_FOR)


def test_clients_of_an_earlier_start_are_gone():
    """Flower gives every node a new id when it registers again."""
    found = stands(at(9, "training_resumed", round=1, rounds=5), reply(10, 2, "new"))
    assert {found[name] for name in "abd"} == {Standing.GONE}
    assert found["new"] is Standing.ANSWERED


def test_an_answer_in_a_second_try_mends_the_first():
    view = reduce([*events(), at(6, "round_started", round=2, rounds=5, clients=5), reply(7, 2, "c")])
    assert standing(view, view.roster["c"]) is Standing.ANSWERED
    assert view.absent[2] == {"b": Outcome.QUARANTINED}
    assert view.attempt == 2


def test_those_in_trouble_come_first_and_those_gone_last():
    view = reduce([*events(), at(9, "training_resumed", round=1, rounds=5), reply(10, 2, "x")])
    assert by_trouble(view)[0][0].name == "x"
    assert [client.name for client, _ in by_trouble(reduce(events()))][:2] == ["b", "c"]


@pytest.mark.parametrize("rounds", [39, 40, 500])
def test_a_client_remembers_only_its_last_rounds(rounds):
    view = reduce([reply(1, number, "a") for number in range(1, rounds + 1)])
    assert len(view.roster["a"].rounds) == min(rounds, 40)
    assert max(view.roster["a"].rounds) == rounds


def test_a_connected_client_that_the_round_has_not_drawn_is_not_waited_for():
    """One that failed when it took part last is still shown so."""
    joined = [at(6, "client_joined", client=client, connected=5) for client in "abcde"]
    later = [
        *joined,
        at(7, "round_completed", round=2, rounds=5, valid=1, seconds=1.0),
        at(8, "round_started", round=3, rounds=5, clients=5, asked=2),
        at(8, "clients_sampled", round=3, phase=Task.TRAIN, wanted=2, clients=("d", "a"), slots=(3, 0)),
        reply(9, 3, "a"),
    ]
    drawn = {
        "a": Standing.ANSWERED,
        "b": Standing.QUARANTINED,
        "c": Standing.FAILED,
        "d": Standing.WAITED_FOR,
        "e": Standing.NOT_DRAWN,
    }
    assert stands(*later) == drawn
    evaluated = at(9, "clients_sampled", round=3, phase=Task.EVALUATE, wanted=1, clients=("e",))
    assert stands(*later, evaluated) == drawn
    again = [
        at(10, "round_completed", round=3, rounds=5, valid=2, seconds=1.0),
        at(11, "round_started", round=4, rounds=5, clients=5, asked=5),
    ]
    assert stands(*later, *again)["e"] is Standing.WAITED_FOR
