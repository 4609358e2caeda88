"""A ServerApp and a SuperNode send and take small objects with their messages, not with a call for each.

A SuperLink or a SuperNode that does not know of it, such as a stock one, is asked for each object as before.
"""

from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any, Final

from flwr.client.grpc_rere_client import connection
from flwr.common.inflatable import UnexpectedObjectContentError, iterate_object_tree
from flwr.proto.message_pb2 import PullObjectResponse
from flwr.server.grid import grpc_grid
from flwr.server.grid.grpc_grid import GrpcGrid
from flwr.supercore.object_store import NoObjectInStoreError
from flwr.supernode import start_client_internal

from oneflower.flower.v1_25.bundles import RESPONSE_OBJECTS, ask, attach, attached, small_objects
from oneflower.flower.v1_25.workarounds.bundled_answers import WORKAROUND as ANSWERS
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround
from oneflower.newest import Newest

SENT: Final = 4096
"""So many objects of a phase that were sent are remembered: a model goes to every node."""
ALWAYS: Final = 64
"""The first messages of a phase take all of their objects along: a node that has answered lets the SuperLink
forget a model that it has not been sent for the next one yet."""
Load = Callable[[Any], object]
"""Attaches objects to the request that is sent."""


def _nothing(_request: Any) -> None:
    pass


_LOAD: ContextVar[Load] = ContextVar("load", default=_nothing)
_CAME: ContextVar[dict[str, bytes] | None] = ContextVar("came", default=None)


def load(request: Any) -> None:
    """Attach what goes with the message that this thread sends."""
    _LOAD.get()(request)


@contextmanager
def sending(what: Load) -> Iterator[None]:
    """Let the message that is sent meanwhile take objects along."""
    before = _LOAD.get()
    _LOAD.set(what)
    try:
        yield
    finally:
        _LOAD.set(before)


def bundle_calls(stub: Any) -> None:
    """Let a stub of the Fleet or the ServerAppIo API send and take small objects with their messages."""
    if "PullMessages" not in vars(stub):
        return
    pull_messages, push_messages, pull_object = stub.PullMessages, stub.PushMessages, stub.PullObject
    came: dict[str, bytes] = {}

    def pull_with_objects(request: Any, **options: Any) -> Any:
        ask(request)
        response = pull_messages(request, **options)
        if response.messages_list:
            came.clear()
            came.update(attached(response, most=RESPONSE_OBJECTS))
            _CAME.set(came)
        return response

    def push_with_objects(request: Any, **options: Any) -> Any:
        load(request)
        return push_messages(request, **options)

    def pull_or_take(request: Any, **options: Any) -> Any:
        content = came.get(request.object_id)
        if content is None:
            return pull_object(request, **options)
        return PullObjectResponse(object_found=True, object_available=True, object_content=content)

    stub.PullMessages, stub.PushMessages, stub.PullObject = pull_with_objects, push_with_objects, pull_or_take


def bundle_stubs_of(patch: Patch, module: Any) -> None:
    """Bundle the calls of the stubs that a module of Flower's makes, outside of their retries."""
    wrap_stub = module._wrap_stub  # noqa: SLF001 - it is what is mended

    @wraps(wrap_stub)
    def wrap_and_bundle(stub: Any, retry_invoker: Any) -> None:
        wrap_stub(stub, retry_invoker)
        bundle_calls(stub)

    patch(module, "_wrap_stub", wrap_and_bundle)


def bundle_of_serverapp(patch: Patch) -> None:
    """Let a ServerApp send each message with its small objects, and take them with replies."""
    bundle_stubs_of(patch, grpc_grid)
    try_push = GrpcGrid._try_push_messages  # noqa: SLF001 - it is what is mended
    sent: Newest[str, None] = Newest(SENT)
    phase: set[tuple[str, str]] = set()
    pushed = 0

    @wraps(try_push)
    def push_with_objects(self: Any, run_id: int, messages: Iterable[Any]) -> Any:
        nonlocal pushed
        listed = list(messages)
        phases = {(each.metadata.group_id, each.metadata.message_type) for each in listed}
        if not phases <= phase:  # the SuperLink forgets a model that every node has
            sent.clear()
            phase.clear()
            phase.update(phases)
            pushed = 0
        known: Container[str] = sent if pushed >= ALWAYS else ()
        pushed += len(listed)

        def attach_new(request: Any) -> None:
            sent.update(dict.fromkeys(attach(request, small_objects(listed, known))))

        with sending(attach_new):
            return try_push(self, run_id, listed)

    patch(GrpcGrid, "_try_push_messages", push_with_objects)


def bundle_of_supernode(patch: Patch) -> None:
    """Let a SuperNode do so towards the SuperLink."""
    bundle_stubs_of(patch, connection)
    pull_and_store: Any = start_client_internal._pull_and_store_message  # noqa: SLF001 - it is mended
    push_messages = start_client_internal._push_messages  # noqa: SLF001 - it is mended

    @wraps(pull_and_store)
    def store_whole(*, object_store: Any, **given: Any) -> Any:
        return pull_and_store(object_store=_Filled(object_store), **given)

    @wraps(push_messages)
    def push_with_objects(*, object_store: Any, send: Any, **given: Any) -> None:
        def send_with_objects(message: Any, tree: Any, runtime: float) -> Any:
            # Of a message that came whole the executor does not confirm that it has it.
            object_store.delete(message.metadata.reply_to_message_id)
            with sending(partial(attach, contents=in_memory(object_store, tree))):
                return send(message, tree, runtime)

        push_messages(object_store=object_store, send=send_with_objects, **given)

    patch(start_client_internal, "_pull_and_store_message", store_whole)
    patch(start_client_internal, "_push_messages", push_with_objects)


class _Filled:
    """An object store that has what came with a message as soon as the message is registered.

    Flower lists the message for its executor next, and stores its objects after that: an executor that was
    quicker had to ask for each, and to wait.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def preregister(self, run_id: int, tree: Any) -> list[str]:
        """Register the objects of a message; return those that did not come with it."""
        came = _CAME.get() or {}
        return [
            object_id
            for object_id in self._store.preregister(run_id, tree)
            if object_id not in came or not self._put(object_id, came[object_id])
        ]

    def _put(self, object_id: str, content: bytes) -> bool:
        try:
            self._store.put(object_id, content)
        except (NoObjectInStoreError, UnexpectedObjectContentError, ValueError):
            # It is taken again below, where Flower gives a message up for it.
            return False
        return True


def in_memory(store: Any, tree: Any) -> Iterator[tuple[str, bytes]]:
    """Yield the objects of a tree that an object store of Flower's holds, with their contents."""
    for node in iterate_object_tree(tree):
        content = store.get(node.object_id)
        if content:
            yield node.object_id, content


SERVERAPP = Workaround(
    name="bundled-calls-serverapp",
    purpose=Purpose.SPEED,
    effect="As `bundled-answers`, for the calls of a ServerApp.",
    cause=ANSWERS.cause,
    programs=frozenset({Program.SERVERAPP}),
    sources={
        "flwr.server.grid.grpc_grid": {
            "_wrap_stub": "9889bab51bbc",
            "GrpcGrid._try_push_messages": "d1c4d950133d",
            "GrpcGrid._connect": "d699240e29bd",
        },
        "flwr.proto.message_pb2": {
            "PullObjectResponse": "f61b519308b9",
        },
    },
    apply=bundle_of_serverapp,
)
SUPERNODE = Workaround(
    name="bundled-calls-supernode",
    purpose=Purpose.SPEED,
    effect="As `bundled-answers`, for the calls of a SuperNode.",
    cause=ANSWERS.cause,
    programs=frozenset({Program.SUPERNODE}),
    after=("unwanted-objects", "dropped-message", "quick-supernode"),
    sources={
        "flwr.client.grpc_rere_client.connection": {
            "_wrap_stub": "e73f6dcf4d2a",
            "grpc_request_response": "60cda1c0c3eb",
        },
        "flwr.supernode.start_client_internal": {
            "_pull_and_store_message": "668a64d9108b",
            "_push_messages": "2435b7116f7d",
            "start_client_internal": "50313decfb88",
        },
        "flwr.supercore.object_store.in_memory_object_store": {
            "InMemoryObjectStore.delete": "e6ab07f837d6",
            "InMemoryObjectStore.get": "b67cbc37f989",
            "InMemoryObjectStore.preregister": "9e051ec570df",
            "InMemoryObjectStore.put": "978d351a5471",
        },
        "flwr.supercore.object_store.object_store": {
            "NoObjectInStoreError": "dd414d00e383",
        },
        "flwr.proto.message_pb2": {
            "PullObjectResponse": "f61b519308b9",
            "ObjectTree": "7ec5ec452c01",
        },
        "flwr.common.inflatable": {
            "UnexpectedObjectContentError": "50d568d80b8c",
            "iterate_object_tree": "34c0fe845619",
        },
    },
    apply=bundle_of_supernode,
)
