"""A reply that the SuperNode has sent before its ClientApp has handed over all of it."""

import pytest
from flwr.common.inflatable import get_all_nested_objects, get_object_tree
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supernode.nodestate import NodeStateFactory
from flwr.supernode.servicer.clientappio.clientappio_servicer import ClientAppIoServicer

from oneflower.flower.v1_25.workarounds.objects import UNWANTED


@pytest.fixture
def push(superlink):
    """Push an object of a reply that is wanted, or has been deleted already; say whether it was taken."""
    objects = ObjectStoreFactory()
    servicer = ClientAppIoServicer(NodeStateFactory(objects), None, objects)
    message = superlink.message()
    object_id, part = next(iter(get_all_nested_objects(message).items()))
    request = PushObjectRequest(run_id=superlink.run_id, object_id=object_id, object_content=part.deflate())

    def run(*, wanted):
        if wanted:
            objects.store().preregister(superlink.run_id, get_object_tree(message))
        return servicer.PushObject(request, None).stored, objects.store().get(object_id)

    return run


def test_flower_refuses_it_and_the_clientapp_fails_with_its_work_done(push):
    assert push(wanted=False) == (False, None)


def test_it_is_taken_and_dropped(push, apply):
    apply(UNWANTED)
    assert push(wanted=False) == (True, None)


def test_what_is_wanted_is_kept(push, apply):
    apply(UNWANTED)
    stored, content = push(wanted=True)
    assert stored
    assert content
