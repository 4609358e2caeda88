"""Calls that are refused, malformed or never finished, on a real gRPC server with Flower's Fleet API."""

import logging
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.client.grpc_rere_client.node_auth_client_interceptor import NodeAuthClientInterceptor
from flwr.common.constant import PUBLIC_KEY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER
from flwr.proto.fleet_pb2 import PullMessagesRequest, PullMessagesResponse, RegisterNodeFleetRequest
from flwr.proto.fleet_pb2_grpc import FleetStub
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import Message, Metadata, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.server import app
from flwr.server.superlink.fleet.grpc_rere.node_auth_server_interceptor import NodeAuthServerInterceptor
from flwr.server.superlink.fleet.message_handler import message_handler
from flwr.supercore.ffs import FfsFactory
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message

from oneflower.flower.v1_25 import requests
from oneflower.flower.v1_25.fleet_limits import MAX_REQUEST_BYTES, RefusedError
from oneflower.flower.v1_25.open_calls import MOST_CALLS, MOST_OF_ONE, OpenCalls
from oneflower.flower.v1_25.requests import Requests
from oneflower.flower.v1_25.workarounds import fleet_calls, node_limits

CALL_S = 20.0
CONNECTIONS = 8
PULL = "/flwr.proto.Fleet/PullMessages"
HEARTBEAT = "/flwr.proto.Fleet/SendNodeHeartbeat"
PUSH = "/flwr.proto.Fleet/PushObject"


@pytest.fixture
def few_connections(monkeypatch):
    """Let a server have few connections, and end those without a handshake soon."""
    monkeypatch.setattr(fleet_calls, "MOST_CONNECTIONS", CONNECTIONS)
    monkeypatch.setattr(fleet_calls, "HANDSHAKE_S", 1.0)


@pytest.fixture
def address(superlink, tmp_path, apply):
    """The address of a Fleet API with the workarounds."""
    apply(fleet_calls.WORKAROUND)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    server = app._run_fleet_api_grpc_rere(
        address=address,
        state_factory=superlink.states,
        ffs_factory=FfsFactory(str(tmp_path / "ffs")),
        objectstore_factory=superlink.objects,
        enable_supernode_auth=False,
        certificates=None,
        interceptors=[NodeAuthServerInterceptor(superlink.states)],
    )
    yield address
    server.stop(None).wait(CALL_S)


class Caller:
    """A node with a key; its calls are signed as Flower does."""

    def __init__(self, address):
        self.key = ec.generate_private_key(ec.SECP384R1())
        self.public = public_key_to_bytes(self.key.public_key())
        # Without probing, no more than 64 kB are received of a response that is not read.
        options = [("grpc.max_send_message_length", -1), ("grpc.http2.bdp_probe", 0)]
        self.channel = grpc.insecure_channel(address, options)
        signing = NodeAuthClientInterceptor(self.key, self.key.public_key())
        self.fleet = FleetStub(grpc.intercept_channel(self.channel, signing))

    def register(self):
        request = RegisterNodeFleetRequest(public_key=self.public)
        return self.fleet.RegisterNode(request, timeout=CALL_S).node_id

    def headers(self):
        """Return what signs a call that Flower's interceptor does not make."""
        timestamp = datetime.now(UTC).isoformat()
        return (
            (PUBLIC_KEY_HEADER, self.public),
            (TIMESTAMP_HEADER, timestamp),
            (SIGNATURE_HEADER, sign_message(self.key, timestamp.encode("ascii"))),
        )


@pytest.fixture
def caller(address):
    made = Caller(address)
    yield made
    made.channel.close()


def status(call, *arguments, **options):
    with pytest.raises(grpc.RpcError) as raised:
        call(*arguments, **options)
    return raised.value.code()


def test_an_honest_call_is_answered(caller):
    node_id = caller.register()
    request = PullMessagesRequest(node=Node(node_id=node_id))
    assert not caller.fleet.PullMessages(request, timeout=CALL_S).messages_list


def test_a_request_above_the_limit_is_not_received(caller):
    node_id = caller.register()
    request = PushObjectRequest(node=Node(node_id=node_id), object_content=bytes(MAX_REQUEST_BYTES + 1))
    assert status(caller.fleet.PushObject, request, timeout=CALL_S) is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((PUBLIC_KEY_HEADER, b"no key"), (TIMESTAMP_HEADER, "now"), (SIGNATURE_HEADER, b"none")),
        ((PUBLIC_KEY_HEADER, b""), (TIMESTAMP_HEADER, ""), (SIGNATURE_HEADER, b"")),
    ],
    ids=["none", "nonsense", "empty"],
)
def test_a_call_without_a_signature_is_refused_without_a_traceback(address, caller, headers, caplog):
    call = caller.channel.unary_unary(PULL)
    with caplog.at_level(logging.DEBUG):
        found = {status(call, b"x" * 1_000_000, metadata=headers, timeout=CALL_S) for _ in range(30)}
    assert found == {grpc.StatusCode.UNAUTHENTICATED}
    lines = [record for record in caplog.records if "refused" in record.message or record.exc_info]
    assert 0 < len(lines) <= 2
    assert not any(record.exc_info for record in lines)


def test_a_timestamp_that_is_none_is_refused(caller, caplog):
    public, _, signature = caller.headers()
    nonsense = (
        public,
        (TIMESTAMP_HEADER, "yesterday"),
        (SIGNATURE_HEADER, sign_message(caller.key, b"yesterday")),
    )
    assert signature != nonsense[2]
    call = caller.channel.unary_unary(PULL)
    assert status(call, b"", metadata=nonsense, timeout=CALL_S) is grpc.StatusCode.UNAUTHENTICATED
    assert not any(record.exc_info for record in caplog.records)


def test_a_node_that_does_not_exist_is_refused_without_a_traceback(caller, caplog):
    request = PullMessagesRequest(node=Node(node_id=7))
    assert status(caller.fleet.PullMessages, request, timeout=CALL_S) is grpc.StatusCode.UNAUTHENTICATED
    assert not any(record.exc_info for record in caplog.records)


def test_a_call_whose_request_never_comes_is_cancelled(caller, monkeypatch):
    """A thousand of them held every thread of the SuperLink's, for good."""
    monkeypatch.setattr(requests, "READ_S", 0.2)
    monkeypatch.setattr(requests, "LOOK_S", 0.05)
    caller.register()
    never, stop = threading.Event(), Future()

    def nothing():
        never.wait(CALL_S)
        yield from ()

    call = caller.channel.stream_unary(PULL).future(nothing(), metadata=caller.headers(), timeout=CALL_S)
    call.add_done_callback(lambda _: stop.set_result(None))
    stop.result(CALL_S)
    never.set()
    assert call.code() is grpc.StatusCode.CANCELLED


class HalfSent:
    """Calls whose headers are there and whose requests are not."""

    def __init__(self, callers, number, method=PULL):
        self.never = threading.Event()
        self.calls = [
            caller.channel.stream_unary(method).future(
                self._nothing(), metadata=caller.headers(), timeout=CALL_S
            )
            for caller in callers
            for _ in range(number)
        ]

    def _nothing(self):
        self.never.wait(CALL_S)
        yield from ()

    def refused(self, number):
        """Wait until so many were refused; return the statuses."""
        deadline = time.monotonic() + CALL_S
        while sum(call.done() for call in self.calls) < number and time.monotonic() < deadline:
            time.sleep(0.02)
        return [call.code() for call in self.calls if call.done()]

    def end(self):
        for call in self.calls:
            call.cancel()
        self.never.set()


def test_half_sent_calls_of_one_key_leave_room_for_others(address, caller):
    """560 of them and 520 questions for work were all threads, and a SuperNode that was refused ended."""
    caller.register()
    half = HalfSent([caller], 3 * MOST_OF_ONE)
    assert half.refused(2 * MOST_OF_ONE) == [grpc.StatusCode.UNAVAILABLE] * 2 * MOST_OF_ONE
    other = Caller(address)
    request = PullMessagesRequest(node=Node(node_id=other.register()))
    assert not other.fleet.PullMessages(request, timeout=CALL_S).messages_list
    other.channel.close()
    half.end()


def test_a_key_whose_calls_have_ended_may_call_again(caller):
    request = PullMessagesRequest(node=Node(node_id=caller.register()))
    half = HalfSent([caller], MOST_OF_ONE)
    deadline = time.monotonic() + CALL_S
    while status_or_none(caller.fleet.PullMessages, request) is not grpc.StatusCode.UNAVAILABLE:
        assert time.monotonic() < deadline
    half.end()
    while status_or_none(caller.fleet.PullMessages, request) is not None:
        assert time.monotonic() < deadline


def test_answers_that_are_not_read_are_few(address, monkeypatch):
    """They have no thread, but each may be of 5 MB."""
    large = PullMessagesResponse(messages_list=[Message(metadata=Metadata(message_id="x" * 1_000_000))])
    monkeypatch.setattr(message_handler, "pull_messages", lambda *_, **__: large)
    caller, other = Caller(address), Caller(address)
    request = PullMessagesRequest(node=Node(node_id=caller.register()))
    unread = [
        caller.channel.unary_stream(PULL)(
            request.SerializeToString(), metadata=caller.headers(), timeout=CALL_S
        )
        for _ in range(3 * MOST_OF_ONE)
    ]
    deadline = time.monotonic() + CALL_S
    while sum(call.is_active() for call in unread) > MOST_OF_ONE:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert sum(call.is_active() for call in unread) == MOST_OF_ONE
    answer = other.fleet.PullMessages(
        PullMessagesRequest(node=Node(node_id=other.register())), timeout=CALL_S
    )
    assert answer == large
    for call in unread:
        call.cancel()
    while status_or_none(caller.fleet.PullMessages, request) is not None:
        assert time.monotonic() < deadline
    for each in (caller, other):
        each.channel.close()


def status_or_none(call, request):
    try:
        call(request, timeout=CALL_S)
    except grpc.RpcError as error:
        return error.code()
    return None


@pytest.mark.usefixtures("few_connections")
def test_connections_that_say_nothing_are_few_and_ended(address, caller):
    host, port = address.split(":")
    request = PullMessagesRequest(node=Node(node_id=caller.register()))
    with ExitStack() as stack:
        idle = [
            stack.enter_context(socket.create_connection((host, int(port)), timeout=CALL_S))
            for _ in range(5 * CONNECTIONS)
        ]
        assert not caller.fleet.PullMessages(request, timeout=CALL_S).messages_list
        for each in idle:
            while has_more(each):
                pass
        other = Caller(address)
        assert other.register()
        other.channel.close()


def has_more(connection):
    """Whether there is more to receive before the other end closes a connection."""
    try:
        return bool(connection.recv(4096))
    except ConnectionResetError:
        return False


def test_connections_leave_files_to_the_database():
    assert dict(fleet_calls.connection_options(1024))["grpc.max_allowed_incoming_connections"] == 312
    assert dict(fleet_calls.connection_options(512))["grpc.max_allowed_incoming_connections"] == 128
    most = dict(fleet_calls.connection_options(10**9))["grpc.max_allowed_incoming_connections"]
    assert most == fleet_calls.MOST_CONNECTIONS > node_limits.MOST_NODES


@pytest.mark.parametrize("method", [HEARTBEAT, PUSH])
def test_half_sent_calls_of_one_key_hold_up_no_others(address, caller, method):
    node_id = caller.register()
    hostile = Caller(address)
    half = HalfSent([hostile], 10, method)
    try:
        time.sleep(1.0)  # until all are there
        request = SendNodeHeartbeatRequest(node=Node(node_id=node_id), heartbeat_interval=30.0)
        caller.fleet.SendNodeHeartbeat(request, timeout=CALL_S)
        request = PushObjectRequest(node=Node(node_id=node_id), run_id=1, object_id="x")
        with pytest.raises(grpc.RpcError) as raised:  # there is no such object
            caller.fleet.PushObject(request, timeout=CALL_S)
        assert raised.value.code() not in {
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.UNAVAILABLE,
        }
    finally:
        half.never.set()
        hostile.channel.close()


class Busy(grpc.ServerInterceptor):
    """The thread that takes calls has no time until `free` is set."""

    def __init__(self):
        self.free = threading.Event()

    def intercept_service(self, continuation, details):
        assert self.free.wait(CALL_S)
        return continuation(details)


@pytest.mark.parametrize("mended", [False, True])
def test_thousands_of_calls_wait_until_the_thread_that_takes_them_has_time(mended):
    """gRPC cancels some where 1,000 and more wait, and a SuperNode of stock Flower ends on that."""
    busy = Busy()
    options = fleet_calls.connection_options(65_536) if mended else []
    server = grpc.server(ThreadPoolExecutor(4), interceptors=[busy], options=options)
    handlers = {"call": grpc.unary_unary_rpc_method_handler(lambda *_: b"")}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/test/call")
            begun = [call.future(b"", timeout=6 * CALL_S) for _ in range(4000)]
            time.sleep(1.0)  # until all are there
            busy.free.set()
            assert all(each.code() is grpc.StatusCode.OK for each in begun) is mended
    finally:
        busy.free.set()
        server.stop(None).wait(CALL_S)


class TestOpenCalls:
    def test_keys_with_many_leave_some_for_a_key_with_none(self):
        calls = OpenCalls()
        begun_by = [as_many_as_it_may(calls, str(number).encode()) for number in range(100)]
        assert begun_by[0] == MOST_OF_ONE
        assert as_many_as_it_may(calls, b"honest") > 0

    def test_all_together_stay_below_the_threads(self):
        calls, keys = OpenCalls(), [str(number).encode() for number in range(MOST_CALLS)]
        for key in keys:
            calls.begin(key)
        with pytest.raises(RefusedError):
            calls.begin(b"another")
        calls.answered()
        calls.begin(b"another")

    def test_of_the_spare_places_a_key_has_one_and_all_together_have_no_more_than_there_are(self):
        spare = OpenCalls(most=2, most_of_one=1)
        assert [as_many_as_it_may(spare, key) for key in (b"one", b"two", b"three")] == [1, 1, 0]

    def test_a_call_counts_for_its_key_until_its_answer_was_read(self):
        calls = OpenCalls()
        assert as_many_as_it_may(calls, b"key") == MOST_OF_ONE
        calls.answered()
        assert as_many_as_it_may(calls, b"key") == 0
        calls.end(b"key")
        assert as_many_as_it_may(calls, b"key") == 1


def test_a_heartbeat_is_admitted_beside_the_calls_of_its_node(caller):
    """A SuperNode whose calls are all taken would count as gone while it sends its model."""
    beat = SendNodeHeartbeatRequest(node=Node(node_id=caller.register()), heartbeat_interval=30.0)
    taken = HalfSent([caller], MOST_OF_ONE + 1)
    try:
        assert taken.refused(1) == [grpc.StatusCode.UNAVAILABLE]
        assert caller.fleet.SendNodeHeartbeat(beat, timeout=CALL_S).success
    finally:
        taken.end()


def test_registrations_above_the_rate_are_refused_before_they_are_verified(address, apply, monkeypatch):
    monkeypatch.setattr(node_limits, "REGISTRATIONS_AT_ONCE", 3)
    monkeypatch.setattr(node_limits, "REGISTRATIONS_A_SECOND", 0.0)
    apply(node_limits.WORKAROUND)
    found = []
    for _ in range(6):
        caller = Caller(address)
        try:
            found.append(bool(caller.register()))
        except grpc.RpcError as error:
            found.append(error.code())
        caller.channel.close()
    assert found == [True] * 3 + [grpc.StatusCode.UNAVAILABLE] * 3


class TestRequests:
    class Slow:
        def __init__(self, peer="ipv4:10.0.0.1:1000"):
            self._peer = peer
            self.cancelled = self.is_over = False
            self.callbacks = []

        def add_callback(self, callback):
            self.callbacks.append(callback)
            return not self.is_over

        def peer(self):
            return self._peer

        def cancel(self):
            self.cancelled = True

    def test_one_network_has_as_many_as_it_leaves_to_others(self, monkeypatch):
        monkeypatch.setattr(requests, "MOST_UNREAD", 8)
        reading, first = Requests(), [f"ipv4:10.0.0.1:{port}" for port in range(8)]
        with ExitStack() as stack:
            assert read_at_once(stack, reading, first) == 4
            assert read_at_once(stack, reading, ["ipv4:10.0.0.2:1"] * 8) == 2
            assert read_at_once(stack, reading, [f"ipv6:[2001:db8::{number}]:1" for number in range(8)]) == 1
            assert read_at_once(stack, reading, ["ipv4:10.0.0.3:1"]) == 1
        with ExitStack() as stack:
            assert read_at_once(stack, reading, first) == 4

    def test_known_keys_are_not_counted_by_network(self, monkeypatch):
        monkeypatch.setattr(requests, "MOST_UNREAD", 8)
        with ExitStack() as stack:
            assert read_at_once(stack, Requests(by_network=False), ["ipv4:10.0.0.2:1"] * 20) == 20

    def test_slow_ones_are_cancelled_and_quick_ones_are_not(self):
        now = [0.0]
        under_way, slow, quick = Requests(clock=lambda: now[0]), self.Slow(), self.Slow()
        under_way.begin(slow, list)
        with under_way.reading(slow):
            now[0] = requests.READ_S + 1
            under_way.begin(quick, list)
            with under_way.reading(quick):
                assert under_way.cancel_slow() == 1
        assert (slow.cancelled, quick.cancelled) == (True, False)

    def test_a_caller_that_is_waited_for_holds_up_others_for_seconds(self):
        now, late = [0.0], []
        under_way, call = Requests(clock=lambda: now[0]), self.Slow()
        under_way.begin(call, list, late=lambda: late.append(now[0]))
        with under_way.reading(call):
            for now[0] in (requests.LATE_S - 1, requests.LATE_S + 1):
                assert under_way.cancel_slow() == 0
        now[0] = 1000.0
        under_way.cancel_slow()
        under_way.answered(call)
        for now[0] in (1001.0, 1001.0 + requests.LATE_S):
            assert under_way.cancel_slow() == 0
        assert late == [requests.LATE_S + 1, 1001.0 + requests.LATE_S]

    def test_a_call_whose_answer_is_not_read_ends(self):
        now, ended = [0.0], []
        under_way, call = Requests(clock=lambda: now[0]), self.Slow()
        under_way.begin(call, lambda: ended.append(call))
        with under_way.reading(call):
            pass
        now[0] = 3600.0  # it waits for its turn: that is not the caller's fault
        assert under_way.cancel_slow() == 0
        under_way.answered(call)
        now[0] += requests.TAKE_S - 1
        assert under_way.cancel_slow() == 0
        now[0] += 2
        assert under_way.cancel_slow() == 1
        assert not ended
        for callback in call.callbacks:
            callback()
        assert ended == [call]
        assert under_way.cancel_slow() == 0

    def test_a_call_that_is_over_already_ends_at_once(self):
        under_way, call, ended = Requests(), self.Slow(), []
        call.is_over = True
        under_way.begin(call, lambda: ended.append(call))
        assert ended == [call]


def as_many_as_it_may(calls, key):
    """Begin calls of a key until one is refused; return how many were not."""
    for number in range(2 * MOST_OF_ONE):
        try:
            calls.begin(key)
        except RefusedError:
            return number
    raise AssertionError


def read_at_once(stack, reading, peers):
    """Begin to read requests from these peers; return how many were not refused."""
    return sum(begun(stack, reading.reading(TestRequests.Slow(peer))) for peer in peers)


def begun(stack, context):
    try:
        stack.enter_context(context)
    except RefusedError:
        return False
    return True
