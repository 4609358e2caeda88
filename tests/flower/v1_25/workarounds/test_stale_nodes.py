"""Only nodes that have asked for work are sampled; after a restart of the SuperLink they ask again."""

import pytest
from flwr.proto.fleet_pb2 import PullMessagesRequest
from flwr.proto.node_pb2 import Node

from oneflower.flower.v1_25.workarounds import delivery

from .conftest import Call, SuperLink


@pytest.fixture(params=["database", "memory"])
def superlink(request, tmp_path):
    return SuperLink(tmp_path / "state.db" if request.param == "database" else ":flwr-in-memory:")


@pytest.fixture
def nodes(superlink):
    return lambda: superlink.states.state().get_nodes(superlink.run_id)


def ask(superlink, node_id=None):
    request = PullMessagesRequest(node=Node(node_id=node_id or superlink.node_id))
    return superlink.fleet().PullMessages(request, Call())


def test_flower_samples_a_node_that_was_there_before_the_restart(superlink, nodes):
    assert nodes() == {superlink.node_id}


def test_it_is_left_out_until_it_asks_for_work(superlink, nodes, apply):
    apply(delivery.STALE)
    assert nodes() == set()
    ask(superlink)
    assert nodes() == {superlink.node_id}


def test_a_ghost_that_registers_and_beats_is_never_sampled(superlink, nodes, apply):
    apply(delivery.STALE)
    ghost = superlink.add_node(b"ghost")
    for _ in range(3):
        superlink.states.state().acknowledge_node_heartbeat(ghost, 30)
    assert nodes() == set()


def test_a_node_that_is_activated_again_asks_again(superlink, nodes, apply):
    apply(delivery.STALE)
    ask(superlink)
    state = superlink.states.state()
    state.deactivate_node(superlink.node_id)
    state.activate_node(superlink.node_id, 30)
    assert nodes() == set()
    ask(superlink)
    assert nodes() == {superlink.node_id}


def test_one_that_went_offline_is_gone_whoever_heard_it(superlink, nodes, apply):
    apply(delivery.STALE)
    ask(superlink)
    superlink.states.state().deactivate_node(superlink.node_id)
    assert nodes() == set()


def test_a_node_at_work_is_sampled_after_a_restart_when_it_beats(tmp_path, apply):
    """It asks for its next message when its work is done, which may take minutes."""
    superlink = SuperLink(tmp_path / "state.db")
    superlink.push(superlink.message())
    ask(superlink)
    apply(delivery.STALE)
    state = superlink.states.state()
    assert state.get_nodes(superlink.run_id) == set()
    state.acknowledge_node_heartbeat(superlink.node_id, 30)
    assert state.get_nodes(superlink.run_id) == {superlink.node_id}
