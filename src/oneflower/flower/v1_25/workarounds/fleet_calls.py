"""A call to the Fleet API that is refused costs little, and one that is never finished ends."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from typing import Any, Final

import grpc
from flwr.common import grpc as flower_grpc
from flwr.proto.fleet_pb2 import PullMessagesRequest
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import PullObjectRequest, PushObjectRequest
from flwr.server import app
from flwr.server.superlink.fleet.grpc_rere import node_auth_server_interceptor
from flwr.server.superlink.fleet.grpc_rere.node_auth_server_interceptor import NodeAuthServerInterceptor

from oneflower.files import most_open_files
from oneflower.flower.v1_25.fleet_limits import MAX_REQUEST_BYTES, RefusedError
from oneflower.flower.v1_25.held import Held
from oneflower.flower.v1_25.lane import LANE, Rank
from oneflower.flower.v1_25.open_calls import MOST_SPARE, OpenCalls
from oneflower.flower.v1_25.refusals import MALFORMED, Refusals, refusing
from oneflower.flower.v1_25.requests import LATE_S, Requests
from oneflower.flower.v1_25.room import Room, Taken
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround

UNKNOWN_NODE: Final = grpc.StatusCode["UNAUTHENTICATED"]
MOST_CONNECTIONS: Final = 12_000
"""More than the SuperNodes that may register."""
OTHER_FILES: Final = 400
"""What the database takes at most: the lane and 48 threads keep six files each."""
HANDSHAKE_S: Final = 20.0
"""gRPC's own is two minutes."""
UNTAKEN_S: Final = 300
"""A call for which no thread of Python's has had time; gRPC cancels it after 30 s, and a SuperNode ends."""
PENDING: Final = 10_000
MOST_PENDING: Final = 12_000
"""Calls that wait for that; from the first number on gRPC cancels some. Its own is 1,000."""
IDLE_S: Final = 120.0
"""A SuperNode calls at least each 30 s: it sends heartbeats."""
THREADS: Final = 3300
"""Flower has 1,000. A thread reads a request and waits for its turn; a SuperNode has up to three calls."""
BUSY: Final = grpc.StatusCode["UNAVAILABLE"]
_PUSH, _PULL = PushObjectRequest.FromString, PullObjectRequest.FromString
RECEIVED: Final = "grpc.max_receive_message_length"


def bound_calls(patch: Patch, *, known_keys: bool = False) -> None:
    """Refuse before a request is read, bound its size, and end those that do not arrive."""
    refusals = Refusals()
    shared = _Calls(requests=Requests(by_network=not known_keys), refusals=refusals, open=OpenCalls())
    spare = replace(shared, open=OpenCalls(most=MOST_SPARE, most_of_one=1))
    intercept = NodeAuthServerInterceptor.intercept_service
    wrap = NodeAuthServerInterceptor._wrap_method_handler  # noqa: SLF001 - it is what is mended
    create = app.generic_create_grpc_server  # type: ignore[attr-defined]

    def terminator(message: str, code: Any = UNKNOWN_NODE) -> Any:
        return refusing(code, message, refusals, "authentication")

    @wraps(intercept)
    def intercept_service(self: Any, continuation: Any, details: Any) -> Any:
        try:
            return intercept(self, continuation, details)
        except Exception as error:  # noqa: BLE001 - whatever the bytes of a stranger raise
            reason = f"malformed authentication metadata: {type(error).__name__}"
            return refusing(UNKNOWN_NODE, reason, refusals, "authentication")

    @wraps(wrap)
    def wrap_method_handler(self: Any, handler: Any, key: bytes) -> Any:
        answered = wrap(self, handler, key)
        beats = handler.request_deserializer == SendNodeHeartbeatRequest.FromString
        reason = ""
        for each in (shared, spare) if beats else (shared,):
            try:
                each.open.begin(key)
            except RefusedError as error:
                reason = reason or str(error)
            else:
                return each.reading_first(answered, key)
        return refusing(BUSY, reason, refusals, "open calls")

    @wraps(create)
    def create_server(*args: Any, **kwargs: Any) -> Any:
        with _receiving_at_most(MAX_REQUEST_BYTES):
            return create(*args, **{**kwargs, "max_concurrent_workers": THREADS})

    patch(node_auth_server_interceptor, "_unary_unary_rpc_terminator", terminator)
    patch(NodeAuthServerInterceptor, "intercept_service", intercept_service)
    patch(NodeAuthServerInterceptor, "_wrap_method_handler", wrap_method_handler)
    patch(app, "generic_create_grpc_server", create_server)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Calls:
    """What the calls of all nodes share."""

    requests: Requests
    refusals: Refusals
    open: OpenCalls

    rooms: Mapping[Any, Room] = field(default_factory=lambda: {_PUSH: Room(), _PULL: Room()})

    def reading_first(self, handler: Any, key: bytes) -> Any:
        """Return a handler that reads the request itself and counts the call; no caller sees a difference."""
        kind = handler.request_deserializer
        asks = kind == PullMessagesRequest.FromString
        room = self.rooms.get(kind)
        rank = Rank.OBJECT if room else Rank.MESSAGE

        def answer(request: Any, context: Any) -> Any:
            with LANE.turn(rank):
                return _answer(handler.unary_unary, request, context, self.refusals)

        def read_and_answer(requests: Any, context: Any) -> Any:
            try:
                taken = self._room(room, context, key)
                response = answer(self._begin(requests, context, key, taken), context)
                if taken:
                    taken.shrink_to(response.ByteSize())
                return response
            finally:
                self.open.answered()
                self.requests.answered(context)

        def read_and_hold(requests: Any, context: Any, send: Callable[[Any], None]) -> None:
            try:
                request = self._begin(requests, context, key, None)
                sending = partial(self.requests.answered, context, LATE_S)
                Held(partial(answer, request), context, send, sending).ask()
            finally:
                self.open.answered()

        if kind == SendNodeHeartbeatRequest.FromString:
            rank = Rank.HEARTBEAT
        read_and_hold.experimental_non_blocking = True  # type: ignore[attr-defined]
        form = grpc.stream_stream_rpc_method_handler if asks else grpc.stream_unary_rpc_method_handler
        return form(
            read_and_hold if asks else read_and_answer,
            request_deserializer=kind,
            response_serializer=handler.response_serializer,
        )

    def _begin(self, requests: Any, context: Any, key: bytes, taken: Taken | None) -> Any:
        leave = partial(taken.shrink_to, 0) if taken else _nothing

        def end() -> None:
            self.open.end(key)
            leave()

        self.requests.begin(context, end, late=leave)
        return _read(requests, context, self.requests, self.refusals)

    def _room(self, room: Room | None, context: Any, key: bytes) -> Taken | None:
        try:
            return room.take(key) if room else None
        except RefusedError as error:
            self.open.end(key)
            self.refusals.refuse(context, BUSY, "room", 0, str(error))
        return None


def _nothing() -> None:
    pass


def _read(requests: Any, context: Any, under_way: Requests, refusals: Refusals) -> Any:
    try:
        with under_way.reading(context):
            request = next(requests, None)
    except RefusedError as error:
        refusals.refuse(context, BUSY, "reading", 0, str(error))
    if request is None:
        refusals.refuse(context, MALFORMED, "reading", 0, "a call without a request")
    return request


def _answer(answer: Any, request: Any, context: Any, refusals: Refusals) -> Any:
    try:
        return answer(request, context)
    except ValueError as error:
        if not str(error).startswith("Node ID"):
            raise
        refusals.refuse(context, UNKNOWN_NODE, "authentication", 0, str(error))


class LimitedGrpc:
    """Stands in for the module `grpc` where Flower creates a server: it receives no larger messages.

    Flower has one limit for both ways, and sends apps of 10 MB and what a ServerApp may ever send.
    """

    def __init__(self, most: int) -> None:
        self._most = most

    def __getattr__(self, name: str) -> Any:
        return getattr(grpc, name)

    def server(self, *args: Any, options: Any, interceptors: Any = None, **kwargs: Any) -> grpc.Server:
        """Create a server with other options."""
        given = [option for option in options if option[0] != RECEIVED]
        if any(isinstance(each, NodeAuthServerInterceptor) for each in interceptors or ()):
            # `OpenCalls` counts instead: gRPC refuses whoever comes last, and a SuperNode ends on that.
            kwargs["maximum_concurrent_rpcs"] = None
        options = [*given, (RECEIVED, self._most), *connection_options(most_open_files())]
        return grpc.server(*args, options=options, interceptors=interceptors, **kwargs)


def connection_options(files: int) -> list[tuple[str, int]]:
    """Return the options of a server whose connections leave the process files for other things.

    Parameters
    ----------
    files : int
        How many files the process may have open.
    """
    most = max(files // 4, (files - OTHER_FILES) // 2)
    return [
        ("grpc.max_allowed_incoming_connections", min(MOST_CONNECTIONS, most)),
        ("grpc.server_handshake_timeout_ms", round(1000 * HANDSHAKE_S)),
        ("grpc.max_connection_idle_ms", round(1000 * IDLE_S)),
        ("grpc.server_max_unrequested_time_in_server", UNTAKEN_S),
        ("grpc.server.max_pending_requests", PENDING),
        ("grpc.server.max_pending_requests_hard_limit", MOST_PENDING),
    ]


@contextmanager
def _receiving_at_most(most: int) -> Iterator[None]:
    """Let the servers that are created meanwhile receive no larger messages; it is one thread that starts."""
    original = flower_grpc.grpc  # type: ignore[attr-defined]
    flower_grpc.grpc = LimitedGrpc(most)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        flower_grpc.grpc = original  # type: ignore[attr-defined]


WORKAROUND = Workaround(
    name="cheap-refusals",
    purpose=Purpose.SAFETY,
    effect="One object of 500 MB makes the SuperLink take 2.8 GB. A caller without a key writes a traceback "
    "into its log with each call, and one that sends 1,000 headers without a request, or opens 1,000 "
    "connections and is silent, blocks all others. With it a key has 10 calls and "
    "one more heartbeat at a time ([limits](limits.md#calls-that-are-not-finished)).",
    cause="messages of 2 GB are received: server/app.py:591; requests are read before they are refused: "
    "node_auth_server_interceptor.py:44; each call has a thread of 1,000 from its headers on: grpc.py:159; "
    "who comes last is refused: grpc.py:200",
    programs=frozenset({Program.SUPERLINK}),
    # What the first raises is refused, too, and the second lies around a call whose request was read.
    after=("steady-clock", "restarted-supernode"),
    sources={
        "flwr.server.superlink.fleet.grpc_rere.node_auth_server_interceptor": {
            "NodeAuthServerInterceptor.intercept_service": "8de7e5c59628",
            "NodeAuthServerInterceptor._wrap_method_handler": "e9f69f62f2b4",
            "_unary_unary_rpc_terminator": "8281d2f2c77f",
        },
        "flwr.server.superlink.linkstate.sqlite_linkstate": {
            "SqliteLinkState.get_node_public_key": "550e3c98664f",
        },
        "flwr.proto.fleet_pb2": {
            "PullMessagesRequest": "818523c80c28",
        },
        "flwr.proto.heartbeat_pb2": {
            "SendNodeHeartbeatRequest": "dfd96c8f7162",
        },
        "flwr.proto.message_pb2": {
            "PullObjectRequest": "b5fa546ba3b9",
            "PushObjectRequest": "430bd51b8f9d",
        },
        "flwr.server.app": {
            "generic_create_grpc_server": "44cb1a5e5d70",
            "_run_fleet_api_grpc_rere": "f76117d15de5",
        },
        "flwr.common.grpc": {
            "generic_create_grpc_server": "398720445baf",
            "grpc": "2f448a87ddc0",
        },
    },
    apply=bound_calls,
)


def hearing(*, known_keys: bool) -> Workaround:
    """Return the workaround for a SuperLink that hears known keys only, or every key."""
    return replace(WORKAROUND, apply=partial(bound_calls, known_keys=known_keys))
