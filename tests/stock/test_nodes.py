"""Stable ids: the same in every start, and nobody takes another node's."""

import json

import pytest

from oneflower.flower.who import UNKNOWN, Identity
from oneflower.stock import nodes as nodes_module
from oneflower.stock.nodes import FIRST_ID, StableNodes


def test_the_ids_are_those_of_the_partitions_whatever_flowers_ids_are():
    for ids in ((7, 3, 900), (11, 2, 5)):
        nodes = StableNodes()
        said = {real: Identity(partition=i, name=f"n{i}") for i, real in enumerate(ids)}
        assert nodes.update(ids, said) == [FIRST_ID, FIRST_ID + 1, FIRST_ID + 2]
        assert [nodes.real(FIRST_ID + i) for i in range(3)] == list(ids)


def test_a_liar_does_not_take_the_id_of_the_node_that_is_there():
    nodes = StableNodes()
    said = {5: Identity(partition=0, name="honest")}
    nodes.update([5], said)
    first, second = nodes.update([5, 4], {**said, 4: Identity(partition=0, name="a-liar")})
    assert (nodes.real(first), nodes.real(second)) == (5, 4)


def test_a_node_that_was_restarted_gets_its_id_back_once_the_old_one_is_gone():
    nodes = StableNodes()
    said = {5: Identity(partition=0), 6: Identity(partition=0)}
    assert nodes.update([5], said) == nodes.update([6], said) == [FIRST_ID]
    assert nodes.real(FIRST_ID) == 6


def test_unknown_nodes_have_ids_too_and_those_of_a_name_have_others():
    nodes = StableNodes()
    ids = nodes.update([9, 8, 7], {9: Identity(name="a"), 8: UNKNOWN})
    assert len(set(ids)) == 3
    assert nodes.there() == set(ids)
    again = StableNodes()
    assert again.update([1, 2, 3], {2: Identity(name="a")}) == ids


def honest(partition=0, name="honest"):
    return Identity(partition=partition, name=name, named=True)


LIAR = Identity(partition=0, name="aaa", named=True)


@pytest.mark.parametrize("flowers", [(5, 4), (900, 4), (900, 901), (5, 1)])
def test_after_a_restart_a_liar_has_not_the_id_of_an_honest_node(flowers):
    """With the ids of Flower's that they had, and with new ones: the liar chooses its name, not the pin."""
    pins = {}
    first = StableNodes(pins)
    first.update([5], {5: honest()})
    first.update([5, 4], {5: honest(), 4: LIAR})
    restarted = StableNodes(json.loads(json.dumps(pins)))
    restarted.update(flowers, {flowers[0]: honest(), flowers[1]: LIAR})
    assert restarted.real(FIRST_ID) == flowers[0]


def test_a_node_that_is_still_online_has_its_id_whatever_another_says_of_itself():
    """Flower's own id is bound to the key of its SuperNode; a name is a word."""
    pins = {}
    StableNodes(pins).update([50], {50: honest()})
    restarted = StableNodes(pins)
    restarted.update([50, 4], {4: honest()})
    assert restarted.real(FIRST_ID) == 50
    restarted.update([4], {4: honest()})
    assert restarted.real(FIRST_ID) is None


def test_the_id_of_a_named_node_that_is_away_is_kept_for_it():
    nodes = StableNodes()
    nodes.update([5], {5: honest()})
    (other,) = nodes.update([4], {4: LIAR})
    assert other != FIRST_ID
    nodes.update([4, 6], {4: LIAR, 6: honest()})
    assert nodes.real(FIRST_ID) == 6, "it was restarted, and has its name"


def test_a_node_without_a_given_name_is_replaced_by_one_of_its_partition():
    """The name is that of its container then, which is another in each start."""
    pins = {}
    StableNodes(pins).update([5], {5: Identity(partition=0, name="3f2a")})
    restarted = StableNodes(pins)
    assert restarted.update([6], {6: Identity(partition=0, name="9bc1")}) == [FIRST_ID]


def test_pins_that_are_none_are_left_out_and_there_are_so_many_at_most(monkeypatch):
    monkeypatch.setattr(nodes_module, "MOST_PINS", 3)
    pins = {"x": [], "1000": ["no number", "", False], "1001": 5}
    nodes = StableNodes(pins)
    ids = nodes.update(range(6), {real: honest(real, f"n{real}") for real in range(6)})
    assert ids == [FIRST_ID + number for number in range(6)]
    assert len([pin for pin in pins.values() if isinstance(pin, list) and len(pin) == 3]) <= 4
