"""After a restart of the SuperLink only nodes that it has heard are sampled."""

import pytest
from flwr.proto.fleet_pb2 import PullMessagesRequest
from flwr.proto.node_pb2 import Node

from oneflower.flower.v1_25.workarounds import delivery


@pytest.fixture
def nodes(superlink):
    return lambda: superlink.states.state().get_nodes(superlink.run_id)


def test_flower_samples_a_node_that_was_there_before_the_restart(superlink, nodes):
    assert nodes() == {superlink.node_id}


def test_it_is_left_out_until_it_beats(superlink, nodes, apply):
    apply(delivery.STALE)
    assert nodes() == set()
    superlink.states.state().acknowledge_node_heartbeat(superlink.node_id, 30)
    assert nodes() == {superlink.node_id}


def test_a_question_for_work_is_a_sign_of_life_too(superlink, nodes, apply, call):
    apply(delivery.STALE)
    superlink.fleet().PullMessages(PullMessagesRequest(node=Node(node_id=superlink.node_id)), call)
    assert nodes() == {superlink.node_id}


def test_a_node_that_registers_now_is_there_at_once(superlink, nodes, apply):
    apply(delivery.STALE)
    fresh = superlink.add_node(b"another key")
    assert nodes() == {fresh}


def test_one_that_went_offline_is_gone_whoever_heard_it(superlink, nodes, apply):
    apply(delivery.STALE)
    state = superlink.states.state()
    state.acknowledge_node_heartbeat(superlink.node_id, 30)
    state.deactivate_node(superlink.node_id)
    assert nodes() == set()
