"""The objects of a message: arrays and records, each of which is registered, pushed and pulled on its own.

Flower loses a message or a reply where an object is asked for too early, pushed twice at once, or pushed
when the other end needs it no longer.
"""

import threading
from functools import wraps
from typing import Any

from flwr.proto.message_pb2 import PushObjectResponse
from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState
from flwr.server.superlink.linkstate.sqlite_linkstate import SqliteLinkState
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore
from flwr.supercore.object_store.sqlite_object_store import SqliteObjectStore
from flwr.supernode.servicer.clientappio.clientappio_servicer import ClientAppIoServicer

from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround

CHANGES = ("preregister", "delete", "delete_objects_in_run")
CHANGING = threading.RLock()
"""Held while objects are registered, deleted, or given other children."""


def count_zero_bytes(patch: Patch) -> None:
    """Let `store_traffic` take 0 bytes for what they are: nothing to add."""
    for state in (SqliteLinkState, InMemoryLinkState):
        patch(state, "store_traffic", _tolerant(state.store_traffic))


def register_one_at_a_time(patch: Patch) -> None:
    """Let one thread at a time register or delete objects; SQLite has one writer in any case."""
    for store in (SqliteObjectStore, InMemoryObjectStore):
        for name in CHANGES:
            patch(store, name, _one_at_a_time(getattr(store, name), CHANGING))


def accept_unwanted(patch: Patch) -> None:
    """Take an object of a reply that has been sent already, and drop it."""
    push_object = ClientAppIoServicer.PushObject

    @wraps(push_object)
    def accept(self: Any, request: Any, context: Any) -> Any:
        if request.object_id in self.objectstore_factory.store():
            return push_object(self, request, context)
        return PushObjectResponse(stored=True)

    patch(ClientAppIoServicer, "PushObject", accept)


def _tolerant(original: Any) -> Any:
    @wraps(original)
    def store_traffic(self: Any, run_id: int, *, bytes_sent: int, bytes_recv: int) -> None:
        if bytes_sent or bytes_recv:
            original(self, run_id, bytes_sent=bytes_sent, bytes_recv=bytes_recv)

    return store_traffic


def _one_at_a_time(original: Any, lock: Any) -> Any:
    @wraps(original)
    def change(*args: Any, **kwargs: Any) -> Any:
        with lock:
            return original(*args, **kwargs)

    return change


ZERO_BYTES = Workaround(
    name="zero-byte-traffic",
    purpose=Purpose.SAFETY,
    effect="A SuperNode that asks for an object of a message before the ServerApp has sent it gets an "
    'error in place of "not yet", drops the message, waits for its reply for ever, and stays online.',
    # pull_object answers "not available yet" with 0 bytes (message_handler.py:323) and accounts for them.
    cause="store_traffic refuses 0 bytes: sqlite_linkstate.py:1276, in_memory_linkstate.py:788",
    programs=frozenset({Program.SUPERLINK}),
    sources={
        "flwr.server.superlink.linkstate.sqlite_linkstate": {
            "SqliteLinkState.store_traffic": "af0874f0f4bc",
        },
        "flwr.server.superlink.linkstate.in_memory_linkstate": {
            "InMemoryLinkState.store_traffic": "f457fdaeb0f1",
        },
        "flwr.server.superlink.fleet.message_handler.message_handler": {
            "pull_object": "2ec57ad238c8",
        },
    },
    apply=count_zero_bytes,
)

RACE = Workaround(
    name="object-store-race",
    purpose=Purpose.SAFETY,
    effect="Of two clients that send an identical array at the same time (frozen layers, equal metrics) "
    "one gets `UNIQUE constraint failed`, and its reply is lost.",
    # preregister looks an object up and inserts it in two steps, each call on a connection of its own, and
    # delete may remove a child between the two.
    cause="look-up and insert in two steps in preregister: sqlite_object_store.py:83",
    programs=frozenset({Program.SUPERLINK, Program.SUPERNODE}),
    sources={
        "flwr.supercore.object_store.sqlite_object_store": {
            "SqliteObjectStore.preregister": "a9d5168debb8",
            "SqliteObjectStore.delete": "e27309f36184",
            "SqliteObjectStore.delete_objects_in_run": "f8870bb1a76b",
        },
        "flwr.supercore.object_store.in_memory_object_store": {
            "InMemoryObjectStore.preregister": "9e051ec570df",
            "InMemoryObjectStore.delete": "e6ab07f837d6",
            "InMemoryObjectStore.delete_objects_in_run": "dee23750dfc2",
        },
    },
    apply=register_one_at_a_time,
)

UNWANTED = Workaround(
    name="unwanted-objects",
    purpose=Purpose.SAFETY,
    effect="A reply whose arrays the SuperLink has already (frozen layers) is deleted while the ClientApp "
    "still sends them: the ClientApp fails with its work done, and the SuperNode serves nothing for up to "
    "a minute.",
    # A reply is sent while the ClientApp still pushes its objects, and deleted when the SuperLink has them:
    # at once where it has them from another node, or from the message.
    cause="a reply is deleted while its objects come in: start_client_internal.py:527, "
    "clientappio_servicer.py:294",
    programs=frozenset({Program.SUPERNODE}),
    sources={
        "flwr.supernode.servicer.clientappio.clientappio_servicer": {
            "ClientAppIoServicer.__init__": "33887ac7e29b",
            "ClientAppIoServicer.PushObject": "51135ed23cc4",
        },
        "flwr.supernode.start_client_internal": {"_push_messages": "2435b7116f7d"},
        "flwr.supercore.object_store.object_store_factory": {"ObjectStoreFactory.store": "7990ab871e5c"},
        "flwr.supercore.object_store.in_memory_object_store": {
            "InMemoryObjectStore.__contains__": "1a72224945dd"
        },
        "flwr.proto.message_pb2": {"PushObjectRequest": "430bd51b8f9d", "PushObjectResponse": "52bfdd9d205b"},
    },
    apply=accept_unwanted,
)
