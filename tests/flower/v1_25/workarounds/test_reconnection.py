"""How soon a SuperNode finds a SuperLink that was away."""

from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import grpc
import pytest
from flwr.common import grpc as flower_grpc
from flwr.supernode import start_client_internal

from oneflower.flower.v1_25.workarounds.pauses import LONGEST_S, RECONNECTION

from ....e2e.recovery.own_ports import free_ports


def pauses(**limits):
    invoker = start_client_internal._make_fleet_connection_retry_invoker(**limits)
    return list(islice(invoker.wait_gen_factory(), 12))


def test_flower_pauses_longer_and_longer():
    assert max(pauses()) == 20


def test_the_pauses_stay_short(apply):
    apply(RECONNECTION)
    assert max(pauses()) == LONGEST_S


def test_tries_that_are_counted_keep_the_pauses_that_they_were_counted_for(apply):
    apply(RECONNECTION)
    assert max(pauses(max_retries=30)) == 20


@pytest.fixture(params=["without TLS", "with TLS"])
def backoff(request, monkeypatch):
    """Return the options of a channel's pauses that gRPC is given."""
    given = {}
    for kind in ("insecure_channel", "secure_channel"):
        monkeypatch.setattr(grpc, kind, lambda *_, options: given.update(options))

    def create():
        flower_grpc.create_channel("127.0.0.1:9", insecure=request.param == "without TLS")
        return {name: value for name, value in given.items() if name.endswith("reconnect_backoff_ms")}

    return create


def test_flower_leaves_a_channels_pauses_to_grpc_which_waits_up_to_two_minutes(backoff):
    assert backoff() == {}


def test_a_channels_pauses_stay_short(backoff, apply):
    apply(RECONNECTION)
    assert backoff()["grpc.max_reconnect_backoff_ms"] == 1000 * LONGEST_S


def test_a_channel_finds_a_server_that_was_not_there_at_first(apply):
    apply(RECONNECTION)
    (port,) = free_ports(1)
    with flower_grpc.create_channel(f"127.0.0.1:{port}", insecure=True) as channel:
        call = channel.unary_unary("/any/method")
        with pytest.raises(grpc.RpcError) as nobody:
            call(b"")
        assert nobody.value.code() == grpc.StatusCode.UNAVAILABLE
        server = grpc.server(ThreadPoolExecutor(1))
        server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
        try:
            with pytest.raises(grpc.RpcError) as answered:
                call(b"", wait_for_ready=True, timeout=60)
            assert answered.value.code() == grpc.StatusCode.UNIMPLEMENTED
        finally:
            server.stop(None)
