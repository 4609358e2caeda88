"""A ClientApp may send the SuperNode what that needs no longer."""

from functools import wraps
from typing import Any

from flwr.proto.message_pb2 import PushObjectResponse
from flwr.supernode.servicer.clientappio.clientappio_servicer import ClientAppIoServicer

from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Workaround


def apply(patch: Patch) -> None:
    """Take an object of a reply that has been sent already, and drop it."""
    push_object = ClientAppIoServicer.PushObject

    @wraps(push_object)
    def take(self: Any, request: Any, context: Any) -> Any:
        if request.object_id in self.objectstore_factory.store():
            return push_object(self, request, context)
        return PushObjectResponse(stored=True)

    patch(ClientAppIoServicer, "PushObject", take)


WORKAROUND = Workaround(
    name="unwanted-objects",
    # A reply is sent while the ClientApp still pushes its objects, and deleted when the SuperLink has them:
    # at once where it has them from another node, or from the message (frozen layers). The ClientApp then
    # fails with its work done, and the node serves nothing until the app's token has expired.
    defect="a reply is deleted while its objects come in: start_client_internal.py:527, "
    "clientappio_servicer.py:294",
    programs=frozenset({Program.SUPERNODE}),
    sources={
        "flwr.supernode.servicer.clientappio.clientappio_servicer": {
            "ClientAppIoServicer.PushObject": "51135ed23cc4"
        },
        "flwr.supernode.start_client_internal": {"_push_messages": "2435b7116f7d"},
    },
    apply=apply,
)
