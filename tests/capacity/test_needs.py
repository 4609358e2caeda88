"""The formulas grow with what they should grow with, and stay where they should not."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.capacity import (
    Load,
    checkpoints_bytes,
    database_bytes,
    growth_bytes,
    replies_bytes,
    serverapp_bytes,
    superlink_bytes,
    supernode_bytes,
)

GB = 1_000_000_000
FORMULAS = (
    serverapp_bytes,
    superlink_bytes,
    supernode_bytes,
    database_bytes,
    replies_bytes,
)
loads = st.builds(
    Load,
    model_bytes=st.integers(0, 100 * GB),
    clients=st.integers(1, 10_000),
    largest_array_bytes=st.just(0),
    streaming=st.booleans(),
    moments=st.integers(0, 2),
    root=st.booleans(),
)


@given(loads, st.integers(1, GB))
@pytest.mark.parametrize("formula", FORMULAS)
def test_a_larger_model_never_needs_less(formula, load, more):
    assert formula(replace(load, model_bytes=load.model_bytes + more)) >= formula(load)


@given(loads)
@pytest.mark.parametrize("formula", FORMULAS)
def test_one_more_client_never_makes_the_rest_smaller(formula, load):
    assert formula(replace(load, clients=load.clients + 1)) >= formula(load)


def test_a_streaming_serverapp_does_not_grow_with_the_clients():
    few = Load(model_bytes=GB, clients=2, largest_array_bytes=GB // 10)
    assert serverapp_bytes(replace(few, clients=1000)) == serverapp_bytes(few)
    assert serverapp_bytes(few) <= 3.5 * GB


def test_without_streaming_every_client_adds_a_model():
    load = Load(model_bytes=GB, clients=10, streaming=False)
    assert serverapp_bytes(replace(load, clients=11)) - serverapp_bytes(load) == GB
    assert replies_bytes(load) == 0


def test_checkpoints_count_what_is_there_already():
    load = Load(model_bytes=GB, clients=2, moments=2)
    assert checkpoints_bytes(load, keep=3, there=0, to_come=100) == 5 * 3 * GB
    assert checkpoints_bytes(load, keep=3, there=4, to_come=100) == 3 * GB
    assert checkpoints_bytes(load, keep=3, there=9, to_come=100) == 3 * GB
    assert checkpoints_bytes(load, keep=3, there=0, to_come=1) == 3 * GB
    assert checkpoints_bytes(load, keep=0, there=50, to_come=50) == 50 * 3 * GB
    assert checkpoints_bytes(load, keep=0, there=50, to_come=0) == 0


def test_what_runs_already_counts_with_its_growth_alone():
    tiny = Load(model_bytes=0, clients=2)
    assert growth_bytes(tiny, nodes=2) == {"SuperLink": 0, "2 SuperNodes at work": 0}
    assert list(growth_bytes(Load(model_bytes=GB, clients=2))) == ["SuperLink"]
