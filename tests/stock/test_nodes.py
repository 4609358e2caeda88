"""Stable ids: the same in every start, and nobody takes another node's."""

from oneflower.flower.who import UNKNOWN, Identity
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
