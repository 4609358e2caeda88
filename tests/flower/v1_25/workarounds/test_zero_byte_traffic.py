"""An object that is asked for too early."""

import pytest
from flwr.common.inflatable import get_object_tree
from flwr.proto.message_pb2 import PullObjectRequest
from flwr.server.superlink.fleet.message_handler import message_handler

from oneflower.flower.v1_25.workarounds.objects import ZERO_BYTES


@pytest.fixture
def pull_too_early(superlink):
    """Ask for an object of a message that the ServerApp has announced and not pushed yet."""
    message = superlink.message()
    superlink.push(message, without_objects=True)
    object_id = get_object_tree(message).children[0].object_id
    request = PullObjectRequest(run_id=superlink.run_id, object_id=object_id)
    return lambda: message_handler.pull_object(
        request=request, state=superlink.states.state(), store=superlink.objects.store()
    )


def test_flower_fails_the_call_and_so_loses_the_message(pull_too_early):
    """B2: the SuperNode takes the ValueError for a permanent failure and drops the message."""
    with pytest.raises(ValueError, match="cannot be zero"):
        pull_too_early()


def test_the_node_is_told_that_the_object_is_not_there_yet(pull_too_early, apply):
    apply(ZERO_BYTES)
    answer = pull_too_early()
    assert answer.object_found
    assert not answer.object_available


def test_real_traffic_is_still_counted(superlink, apply):
    apply(ZERO_BYTES)
    state = superlink.states.state()
    state.store_traffic(superlink.run_id, bytes_sent=3, bytes_recv=0)
    state.store_traffic(superlink.run_id, bytes_sent=0, bytes_recv=4)
    assert (state.get_run(superlink.run_id).bytes_sent, state.get_run(superlink.run_id).bytes_recv) == (3, 4)
