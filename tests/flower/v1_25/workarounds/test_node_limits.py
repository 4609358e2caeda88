"""Joining costs the SuperLink little: intervals are capped, registrations are bounded."""

import pytest
from flwr.proto.fleet_pb2 import ActivateNodeRequest, RegisterNodeFleetRequest
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.node_pb2 import Node

from oneflower.flower.v1_25.workarounds import node_limits
from oneflower.flower.v1_25.workarounds.node_limits import Bucket, Registered

from .conftest import AbortedError, Call, SuperLink


@pytest.fixture(params=["database", "memory"])
def superlink(request, tmp_path):
    return SuperLink(tmp_path / "state.db" if request.param == "database" else ":flwr-in-memory:")


def interval(superlink, node_id):
    (info,) = superlink.states.state().get_node_info(node_ids=[node_id])
    return info.heartbeat_interval


class TestInterval:
    @pytest.mark.parametrize(("asked", "given"), [(10, 10), (30, 30), (31, 30), (1800, 30)])
    def test_it_is_30_s_at_most(self, superlink, apply, asked, given):
        apply(node_limits.WORKAROUND)
        fleet = superlink.fleet()
        fleet.RegisterNode(RegisterNodeFleetRequest(public_key=b"new"), Call())
        request = ActivateNodeRequest(public_key=b"new", heartbeat_interval=asked)
        node_id = fleet.ActivateNode(request, Call()).node_id
        assert interval(superlink, node_id) == given
        request = SendNodeHeartbeatRequest(node=Node(node_id=node_id), heartbeat_interval=asked)
        assert fleet.SendNodeHeartbeat(request, Call()).success
        assert interval(superlink, node_id) == given

    def test_flower_takes_half_an_hour(self, superlink):
        fleet = superlink.fleet()
        request = SendNodeHeartbeatRequest(node=Node(node_id=superlink.node_id), heartbeat_interval=1800)
        fleet.SendNodeHeartbeat(request, Call())
        assert interval(superlink, superlink.node_id) == 1800

    @pytest.mark.parametrize("asked", [float("nan"), float("inf"), -1, 0, 9])
    def test_what_flower_refuses_stays_refused_or_capped(self, superlink, apply, asked):
        apply(node_limits.WORKAROUND)
        request = SendNodeHeartbeatRequest(node=Node(node_id=superlink.node_id), heartbeat_interval=asked)
        if asked == float("inf"):
            assert superlink.fleet().SendNodeHeartbeat(request, Call()).success
            return
        with pytest.raises(AbortedError):
            superlink.fleet().SendNodeHeartbeat(request, Call())


class TestNumber:
    @pytest.fixture
    def clock(self):
        return [0.0]

    @pytest.fixture
    def registered(self, clock):
        return Registered(most=20, clock=lambda: clock[0])

    def test_nodes_that_never_came_back_make_room(self, superlink, registered, clock):
        """A training that lasts months sees many SuperNodes restart."""
        state = superlink.states.state()
        for number in range(200):
            clock[0] += 10
            assert registered.admit(state)
            node_id = superlink.add_node(f"key {number}".encode())
            state.deactivate_node(node_id)
        (own,) = state.get_node_info(node_ids=[superlink.node_id])
        assert own.status == "online"

    def test_nodes_that_are_online_do_not(self, superlink, registered, clock):
        state = superlink.states.state()
        admitted = 0
        for number in range(50):
            clock[0] += 10
            if registered.admit(state):
                admitted += 1
                superlink.add_node(f"key {number}".encode())
        assert admitted == 19  # beside the one that is there

    def test_between_two_counts_those_that_come_are_added(self, superlink, registered):
        state = superlink.states.state()
        assert sum(registered.admit(state) for _ in range(50)) == 19

    def test_nodes_with_a_message_are_kept(self, tmp_path, clock, registered):
        superlink = SuperLink(tmp_path / "state.db")
        superlink.push(superlink.message())
        state = superlink.states.state()
        state.deactivate_node(superlink.node_id)
        for number in range(60):
            clock[0] += 10
            registered.admit(state)
            state.deactivate_node(superlink.add_node(f"key {number}".encode()))
        assert state.get_node_info(node_ids=[superlink.node_id])


class TestRate:
    def test_many_at_once_then_so_many_a_second(self):
        now = [0.0]
        bucket = Bucket(rate=20, most=100, clock=lambda: now[0])
        assert sum(bucket.take() for _ in range(1_000)) == 100
        now[0] = 1.0
        assert sum(bucket.take() for _ in range(1_000)) == 20
        now[0] = 3_600.0
        assert sum(bucket.take() for _ in range(1_000)) == 100
