"""A SuperNode outlives a SuperLink that has too many calls."""

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from flwr.supernode import start_client_internal

from oneflower.flower.v1_25.workarounds import busy_superlink

METHOD = "/test/method"


class Server:
    """A gRPC server that takes one call at a time; the first is held."""

    def __init__(self):
        self.release, self.held = threading.Event(), threading.Event()
        self.server = grpc.server(ThreadPoolExecutor(4), maximum_concurrent_rpcs=1)
        handlers = {"method": grpc.unary_unary_rpc_method_handler(self._answer)}
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def _answer(self, request, context):
        if request == b"large":
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (2 vs. 1)")
        if request == b"cancelled" and not self.release.is_set():
            context.cancel()
        if request == b"held":
            self.held.set()
            self.release.wait(20)
        return b"done"


@pytest.fixture
def server():
    made = Server()
    yield made
    made.release.set()
    made.server.stop(None).wait(20)


@pytest.fixture
def call(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel.unary_unary(METHOD)


def invoker(server):
    """Return Flower's invoker; the first pause ends what keeps the server busy."""
    made = start_client_internal._make_fleet_connection_retry_invoker()
    made.wait_function = lambda _: server.release.set()
    return made


def busy(server, call):
    held = call.future(b"held", timeout=20)
    assert server.held.wait(20)
    return held


def test_flower_gives_up(server, call):
    held = busy(server, call)
    with pytest.raises(grpc.RpcError, match="Concurrent RPC limit exceeded"):
        invoker(server).invoke(call, b"x", timeout=20)
    server.release.set()
    held.result()


def test_the_call_is_repeated(server, call, apply):
    apply(busy_superlink.WORKAROUND)
    held = busy(server, call)
    assert invoker(server).invoke(call, b"x", timeout=20) == b"done"
    held.result()


def test_a_message_that_is_too_large_is_not_sent_again(server, call, apply):
    apply(busy_superlink.WORKAROUND)
    with pytest.raises(grpc.RpcError, match="larger than max"):
        invoker(server).invoke(call, b"large", timeout=20)


def test_a_call_that_the_server_cancels_is_repeated(server, call, apply):
    with pytest.raises(grpc.RpcError, match="CANCELLED"):
        invoker(server).invoke(call, b"cancelled", timeout=20)
    apply(busy_superlink.WORKAROUND)
    assert invoker(server).invoke(call, b"cancelled", timeout=20) == b"done"


def test_a_call_that_was_cancelled_here_is_not_repeated(server, call):
    held = busy(server, call)
    held.cancel()
    with pytest.raises(grpc.FutureCancelledError):
        held.result()
    assert not busy_superlink.is_busy(held)
