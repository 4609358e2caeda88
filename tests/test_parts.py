"""Each member has one partition and each partition one member, after any sequence of joins and leaves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.parts import Part, assign, checked_table, part_of, read_table, table_text

IDS = st.integers(0, 12)
MEMBERS = st.frozensets(IDS, max_size=8)
HINTS = st.dictionaries(IDS, st.builds(Part, index=st.integers(-2, 99), count=st.integers(-2, 99)))


def test_the_oldest_leaves_and_another_joins():
    """Without a table, from the ids and their number as each joined, 12 and 13 would share a partition."""
    table = ()
    for members in ({10, 11}, {10, 11, 12}, {11, 12}, {11, 12, 13}):
        table = assign(table, members, {})
    assert table == (12, 11, 13)


def test_a_replaced_member_leaves_its_partition_to_its_successor():
    assert assign((10, 11, 12), {10, 12, 20}, {}) == (10, 20, 12)


def test_the_first_table_is_in_the_order_of_ids():
    assert assign((), {9, 100, 10}, {}) == (9, 10, 100)


def test_hints_rebuild_a_table_that_was_lost():
    table = (12, 11, 13)
    hints = {member: part_of(table, member) for member in table}
    assert assign((), {11, 12, 13}, hints) == table


def test_hints_are_ignored_if_there_is_a_table():
    assert assign((11, 12), {11, 12}, {12: Part(index=0, count=2)}) == (11, 12)


def test_if_two_claim_one_partition_the_lowest_id_gets_it():
    assert assign((), {11, 12}, {11: Part(index=1, count=2), 12: Part(index=1, count=2)}) == (12, 11)


@given(previous=st.lists(IDS, unique=True), members=MEMBERS, hints=HINTS)
def test_each_partition_has_one_member_for_any_previous_table_and_hints(previous, members, hints):
    table = assign(previous, members, hints)
    assert sorted(table) == sorted(members)
    assert assign(previous, sorted(members, reverse=True), dict(reversed(hints.items()))) == table


@given(previous=st.lists(IDS, unique=True), members=MEMBERS)
def test_a_member_keeps_its_partition_if_it_still_exists(previous, members):
    table = assign(previous, members, {})
    kept = [member for member in previous[: len(members)] if member in members]
    assert [table[previous.index(member)] for member in kept] == kept
    assert assign(table, members, {}) == table


@given(
    st.lists(
        st.one_of(MEMBERS, st.tuples(st.just("replaced"), HINTS), st.just("replaced, all hints are true"))
    )
)
def test_any_sequence_of_joins_leaves_and_replaced_superlinks(steps):
    table, members = (), frozenset()
    for step in steps:
        known, hints, before = table, {}, table
        if isinstance(step, frozenset):
            members = step
        else:
            known = ()
            hints = {each: part_of(table, each) for each in table} if isinstance(step, str) else step[1]
        table = assign(known, members, hints)
        assert sorted(table) == sorted(members)
        if isinstance(step, str):
            assert table == before


@given(st.lists(st.integers(0, 2**63 - 1), unique=True).map(tuple))
def test_a_table_is_parsed_from_its_text(table):
    assert read_table(table_text(table)) == table


@pytest.mark.parametrize(
    "values", [None, "12", (1, 2), {"1": 2}, [1, "2"], [True], [-1], [1.0], [3, 3], [2**63], [[1]]]
)
def test_values_that_are_not_a_table_are_refused(values):
    with pytest.raises(ValueError, match="expected"):
        checked_table(values)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"v": 2, "members": [1]}', '{"v": 1}', "\0"])
def test_a_damaged_file_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's own, or ours
        read_table(text)


def test_a_member_outside_the_table_has_no_partition():
    assert part_of((12, 11), 13) is None
    assert part_of((12, 11), 11) == Part(index=1, count=2)
