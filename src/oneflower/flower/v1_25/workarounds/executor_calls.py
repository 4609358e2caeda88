"""A SuperNode and its executor exchange a message in three calls: asked for, pulled, answered.

Flower makes eight, and one more for each object. What would come next is enclosed in the answer, or in the
request. Another executor, such as Flower's own flwr-clientapp, does not ask for it and is answered as before.
"""

from contextlib import suppress
from functools import wraps
from typing import Any

from flwr.proto.appio_pb2 import (
    PullAppInputsRequest,
    PushAppOutputsRequest,
    RequestTokenRequest,
)
from flwr.supernode.servicer.clientappio.clientappio_servicer import ClientAppIoServicer

from oneflower.flower.v1_25.bundles import (
    INPUTS,
    OUTPUTS,
    REQUEST_BYTES,
    TOKEN,
    asks,
    attach,
    detached,
    enclose,
    enclosed,
)
from oneflower.flower.v1_25.workarounds.bundled_calls import in_memory
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround


class _NoCall:
    """The context of a call that was not made."""

    def abort(self, code: Any, details: str) -> None:
        """Refuse it."""
        raise RuntimeError(f"{code}: {details}")


def exchange_in_three_calls(patch: Patch) -> None:
    """Let a SuperNode enclose what its executor would call for next."""
    servicer = ClientAppIoServicer
    patch(servicer, "ListAppsToLaunch", _with_token(servicer.ListAppsToLaunch))
    patch(servicer, "PullMessage", _with_objects(servicer.PullMessage))
    patch(servicer, "PushMessage", _taking_all(servicer.PushMessage))


def _with_token(list_apps: Any) -> Any:
    """Enclose the token for the run of the first message, and the inputs of its app."""

    @wraps(list_apps)
    def list_with_token(self: Any, request: Any, context: Any) -> Any:
        response = list_apps(self, request, context)
        if response.run_ids and asks(request):
            given = self.RequestToken(RequestTokenRequest(run_id=response.run_ids[0]), context)
            enclose(response, TOKEN, given.SerializeToString())
            with suppress(Exception):  # its executor calls for what is not enclosed, and learns why
                inputs = self.PullClientAppInputs(PullAppInputsRequest(token=given.token), _NoCall())
                if inputs.ByteSize() <= REQUEST_BYTES:  # the app's files are in it
                    enclose(response, INPUTS, inputs.SerializeToString())
        return response

    return list_with_token


def _with_objects(pull_message: Any) -> Any:
    @wraps(pull_message)
    def pull_with_objects(self: Any, request: Any, context: Any) -> Any:
        response = pull_message(self, request, context)
        store = self.objectstore_factory.store()
        for tree in response.message_object_trees if asks(request) else ():
            attach(response, in_memory(store, tree))
        return response

    return pull_with_objects


def _taking_all(push_message: Any) -> Any:
    """Store objects, and the time, before the message: the reply is sent on as soon as it is there.

    Flower notes the time when it has stored the reply, and drops one whose time is not noted yet.
    """

    @wraps(push_message)
    def push_with_objects(self: Any, request: Any, context: Any) -> Any:
        outputs = enclosed(request).get(OUTPUTS) if request.ByteSize() <= REQUEST_BYTES else None
        contents, state = detached(request), self.state_factory.state()
        run_id = state.get_run_id_by_token(request.token)
        if run_id is not None and state.verify_token(run_id, request.token):
            store = self.objectstore_factory.store()
            for tree in request.message_object_trees if contents else ():
                for object_id in set(store.preregister(run_id, tree)).intersection(contents):
                    store.put(object_id, contents[object_id])
            for message in request.messages_list:
                with suppress(ValueError):  # Flower raises it once more
                    state.record_message_processing_end(message_id=message.metadata.reply_to_message_id)
        response = push_message(self, request, context)
        if outputs is not None and not response.objects_to_push:
            self.PushClientAppOutputs(PushAppOutputsRequest.FromString(outputs), context)
            enclose(response, OUTPUTS, b"")
        return response

    return push_with_objects


WORKAROUND = Workaround(
    name="bundled-calls-executor",
    purpose=Purpose.SPEED,
    effect="As `bundled-answers`, for the calls of a SuperNode's executor, of which three are left.",
    cause="each step has a call of its own: run_superexec.py, run_clientapp.py",
    programs=frozenset({Program.SUPERNODE}),
    after=("held-launches",),
    sources={
        "flwr.supernode.servicer.clientappio.clientappio_servicer": {
            "ClientAppIoServicer.__init__": "33887ac7e29b",
            "ClientAppIoServicer.ListAppsToLaunch": "7b4f6ff59df3",
            "ClientAppIoServicer.RequestToken": "add42a1d4bdd",
            "ClientAppIoServicer.PullClientAppInputs": "f8e7dfc18f51",
            "ClientAppIoServicer.PushClientAppOutputs": "e66a84c9ded4",
            "ClientAppIoServicer.PullMessage": "05fd69ac4986",
            "ClientAppIoServicer.PushMessage": "708f115338f6",
        },
        "flwr.supernode.nodestate.in_memory_nodestate": {
            "InMemoryNodeState.get_run_id_by_token": "e3b0c44298fc",
            "InMemoryNodeState.verify_token": "e3b0c44298fc",
        },
        "flwr.supercore.object_store.in_memory_object_store": {
            "InMemoryObjectStore.preregister": "9e051ec570df",
            "InMemoryObjectStore.put": "978d351a5471",
        },
        "flwr.proto.appio_pb2": {
            "PullAppInputsRequest": "23393bb5a0ed",
            "PullAppMessagesResponse": "538c9076ed2a",
            "PushAppMessagesRequest": "617c4767a915",
            "PushAppOutputsRequest": "ae8e44da4be3",
            "RequestTokenRequest": "5c3dcec72dc8",
        },
    },
    apply=exchange_in_three_calls,
)
