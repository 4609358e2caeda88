"""Who is always far from the model: reduced from the journal, the same after resumes and new ids."""

import math

import pytest

from oneflower.journal import reduce
from oneflower.journal.state import courses, farthest, outliers
from oneflower.journal.state.outliers import FAR, LEAST, WINDOW
from oneflower.journal.state.records import STRIP_ROUNDS

from ..making import entry

CLIENTS = ("a", "b", "c", "d", "e")


def replies(number, clients=CLIENTS):
    return [entry("reply_received", round=number, client=client) for client in clients]


def measured(number, distances, clients=CLIENTS, **fields):
    return entry("updates_measured", round=number, clients=clients, distances=tuple(distances), **fields)


def rounds(numbers, *distances, **fields):
    """Return the entries of rounds in which the clients had these distances."""
    found = []
    for number in numbers:
        found += [*replies(number), measured(number, distances, **fields)]
    return found


def begun(*entries):
    return reduce([entry("training_started", rounds=50), *entries])


def names(found):
    return [each.client.name for each in found]


FAR_E = (1.0, 1.0, 1.1, 1.2, 9.0)


def test_a_client_that_is_far_in_most_of_the_last_rounds_is_an_outlier():
    state = begun(*rounds(range(1, 6), *FAR_E))
    (found,) = outliers(state)
    assert (found.client.name, found.far, found.measured) == ("e", 5, 5)
    assert found.typical == found.last == pytest.approx(9.0 / 1.1)
    assert farthest(courses(state)) == pytest.approx(9.0 / 1.1)


def test_a_few_far_rounds_make_no_outlier():
    assert outliers(begun(*rounds(range(1, LEAST), *FAR_E))) == []
    usual = rounds(range(LEAST + 1, 2 * LEAST + 1), 1.0, 1.0, 1.1, 1.2, FAR)
    near = rounds(range(2 * LEAST + 1, 3 * LEAST + 2), 1.0, 1.0, 1.1, 1.2, 2.0)
    assert outliers(begun(*rounds(range(1, LEAST + 1), *FAR_E), *usual, *near)) == []


def test_far_begins_at_the_threshold():
    assert names(outliers(begun(*rounds(range(1, 6), 1.0, 1.0, 1.0, 1.0, FAR)))) == ["e"]
    assert outliers(begun(*rounds(range(1, 6), 1.0, 1.0, 1.0, 1.0, FAR - 0.01))) == []


def test_what_was_far_long_ago_is_forgotten():
    far, near = rounds(range(1, 21), *FAR_E), rounds(range(21, 21 + WINDOW), 1, 1, 1, 1, 1)
    assert names(outliers(begun(*far))) == ["e"]
    assert outliers(begun(*far, *near)) == []


def test_a_client_that_no_longer_takes_part_is_an_outlier_for_as_long_as_its_rounds_are_recent():
    far = rounds(range(1, 4), *FAR_E)
    others = [
        each
        for number in range(4, 4 + WINDOW)
        for each in (*replies(number, CLIENTS[:4]), measured(number, (1, 1, 1, 1), CLIENTS[:4]))
    ]
    assert names(outliers(begun(*far, *others[:4]))) == ["e"]
    assert outliers(begun(*far, *others)) == []


def test_krums_own_update_is_at_distance_0_and_does_not_move_the_median():
    state = begun(*rounds(range(1, 4), 0.0, 2.0, 2.0, 2.2, 7.0))
    assert names(outliers(state)) == ["e"]
    by_name = {each.client.name: each for each in courses(state)}
    assert by_name["a"].last == 0.0
    assert by_name["b"].last == 1.0


def test_a_distance_that_is_too_large_to_be_written_is_far():
    state = begun(*rounds(range(1, 4), 1.0, 1.0, 1.0, 1.0, math.nan))  # null in the journal
    assert [(each.client.name, each.typical) for each in outliers(state)] == [("e", math.inf)]
    assert farthest(courses(state)) == math.inf


@pytest.mark.parametrize(
    "distances", [(), (math.nan,) * 5, (0.0,) * 5, (1.0,), (-1.0,) * 5, (1e308, 1e-308, 1e-308, 1.0, 2.0)]
)
def test_any_distances_can_be_read(distances):
    state = begun(*rounds(range(1, 6), *distances))
    assert len(courses(state)) == len(CLIENTS)
    assert all(each.typical >= 0 for each in courses(state))


def test_of_two_updates_none_is_far():
    two = ("a", "b")
    entries = [each for n in range(1, 9) for each in (*replies(n, two), measured(n, (1.0, 50.0), two))]
    assert outliers(begun(*entries)) == []
    assert farthest(courses(begun(*entries))) is None


def test_the_median_is_that_of_the_round_where_it_takes_several_events():
    first, second = CLIENTS[:2], CLIENTS[2:]
    entries = []
    for number in range(1, 4):
        entries += [
            *replies(number),
            measured(number, (9.0, 1.0), first),
            measured(number, (1, 1, 1), second),
        ]
    assert names(outliers(begun(*entries))) == ["a"]


def test_rounds_in_which_a_rule_did_not_use_an_update_are_known():
    state = begun(*rounds(range(1, 4), 1, 1, 1, 1, 1, selected=(1, 1, 1, 1, 0)))
    by_name = {each.client.name: each for each in courses(state)}
    assert by_name["e"].unused == {1, 2, 3}
    assert by_name["a"].unused == frozenset()
    assert outliers(state) == []


MOST, ONE = (1, 1, 1, 1, 0), (1, 0, 0, 0, 0)


def test_a_client_that_a_rule_never_uses_while_it_uses_most_is_an_outlier():
    def passed_over(numbers, selected=MOST):
        return outliers(begun(*rounds(numbers, 1, 1, 1, 1, 1, selected=selected)))

    (found,) = passed_over(range(1, WINDOW + 1))
    assert (found.client.name, found.is_never_used, found.is_far) == ("e", True, False)
    assert passed_over(range(1, WINDOW)) == []
    assert passed_over(range(1, 40), ONE) == []
    once = rounds(range(5, 6), 1, 1, 1, 1, 1, selected=(1,) * 5)
    other = rounds(range(6, WINDOW + 1), 1, 1, 1, 1, 1, selected=MOST)
    assert outliers(begun(*rounds(range(1, 5), 1, 1, 1, 1, 1, selected=MOST), *once, *other)) == []


def test_a_resume_forgets_what_is_measured_again():
    far = rounds(range(1, 6), *FAR_E)
    resumed = entry("training_resumed", round=2, rounds=50)
    assert sorted(begun(*far, resumed).roster["e"].measured) == [1, 2]
    assert outliers(begun(*far, resumed)) == []
    assert begun(*far, entry("training_started", rounds=50)).roster["e"].measured == {}


def test_a_client_that_comes_back_under_another_id_stays_an_outlier():
    here = [entry("client_joined", client="e"), entry("client_named", client="e", name="edge", partition=4)]
    away = [entry("client_left", client="e"), entry("client_joined", client="f")]
    back = entry("client_named", client="f", name="edge", partition=4)
    (found,) = outliers(begun(*here, *rounds(range(1, 6), *FAR_E), *away, back))
    assert (found.client.name, found.client.shown, found.far) == ("f", "edge", 5)


def test_a_client_that_was_not_there_in_the_last_rounds_is_not_listed():
    others = CLIENTS[:4]
    entries = [
        each
        for number in range(2, 2 + STRIP_ROUNDS)
        for each in (*replies(number, others), measured(number, (1, 1, 1, 1), others))
    ]
    assert sorted(names(courses(begun(*rounds(range(1, 2), *FAR_E), *entries)))) == sorted(others)


def test_names_that_never_replied_are_not_kept_and_neither_is_a_long_past():
    state = begun(*rounds(range(1, 101), *FAR_E), measured(101, (1.0,) * 1000, tuple(map(str, range(1000)))))
    assert sorted(state.roster) == sorted(CLIENTS)
    assert {len(client.measured) for client in state.roster.values()} == {STRIP_ROUNDS}


def test_a_thousand_clients_are_counted_in_two_events():
    clients = tuple(f"node-{i}" for i in range(1000))
    entries = []
    for number in range(1, 6):
        entries += replies(number, clients)
        entries.append(measured(number, [1.0] * 500, clients[:500]))
        entries.append(measured(number, [1.0] * 499 + [5.0], clients[500:]))
    assert names(outliers(begun(*entries))) == ["node-999"]
