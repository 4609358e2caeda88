"""Who reaches the APIs of a SuperLink and a SuperNode on their own machine."""

import stat
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
from flwr.common import grpc as flower_grpc
from flwr.proto.control_pb2 import ListRunsRequest, ListRunsResponse
from flwr.proto.control_pb2_grpc import ControlServicer, ControlStub, add_ControlServicer_to_server
from flwr.server.superlink.serverappio import serverappio_grpc
from flwr.superlink.servicer.control import control_grpc
from flwr.supernode import start_client_internal

from oneflower.errors import SettingsError
from oneflower.flower.sockets import SOCKETS, prepare, socket_of
from oneflower.flower.v1_25.workarounds import private_sockets
from oneflower.local_cluster.ports import free_ports

TOKEN = "7f3a9c51e08b6d24"


class Runs(ControlServicer):
    """Answers one call, and notes that its request was handed over."""

    def __init__(self):
        self.read = []

    def ListRuns(self, request, context):  # noqa: N802 - the protocol's name
        self.read.append(request)
        return ListRunsResponse(now="answered")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    prepare(tmp_path / "s")
    monkeypatch.setenv(SOCKETS, str(tmp_path / "s"))
    return tmp_path / "s"


@pytest.fixture
def created(monkeypatch, folder):
    """Create servers as Flower does; return what they were given."""
    calls = []

    def create(**options):
        calls.append(SimpleNamespace(**options))
        return calls[-1]

    for module in (control_grpc, serverappio_grpc, start_client_internal):
        monkeypatch.setattr(module, "generic_create_grpc_server", create)
    private_sockets.SUPERLINK.apply(monkeypatch.setattr)
    private_sockets.SUPERNODE.apply(monkeypatch.setattr)
    return calls


def test_stock_flower_listens_on_a_port():
    """What the workaround is for: every user of the machine can connect to it."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    assert ask(serve(flower_grpc.generic_create_grpc_server, address), address) == "answered"


@pytest.mark.parametrize("module", [serverappio_grpc, start_client_internal, control_grpc])
def test_on_loopback_every_api_listens_on_its_socket_only(created, folder, module):
    module.generic_create_grpc_server(server_address="127.0.0.1:7", certificates=("ca", "cert", "key"))
    (call,) = created
    assert call.server_address == f"unix:{folder}/7.sock"
    assert call.certificates is None, "nobody else gets to the socket"


def test_beyond_loopback_the_control_api_needs_both_certificates_and_a_token(created, monkeypatch):
    create = control_grpc.generic_create_grpc_server
    with pytest.raises(SettingsError):
        create(server_address="0.0.0.0:7", certificates=("ca", "cert", "key"))
    monkeypatch.setenv("FL_CONTROL_TOKEN", TOKEN)
    with pytest.raises(SettingsError):
        create(server_address="0.0.0.0:7", certificates=None)


def test_the_token_is_taken_out_of_the_environment_of_what_follows(created, monkeypatch):
    for name in ("FL_CONTROL_TOKEN", "ONEAPP_FL_CONTROL_TOKEN"):
        monkeypatch.setenv(name, TOKEN)
        control_grpc.generic_create_grpc_server(server_address="127.0.0.1:7")
        assert name not in private_sockets.os.environ


def test_a_socket_is_reached_by_its_user_and_without_a_token(folder, monkeypatch):
    """A SuperLink that was killed leaves its socket; the next one takes it, and refuses a third."""
    private_sockets.SUPERLINK.apply(monkeypatch.setattr)
    address = socket_of(folder, "127.0.0.1:7")
    server = serve(control_grpc.generic_create_grpc_server, "127.0.0.1:7")
    assert ask(server, address, stop=False) == "answered"
    assert stat.S_ISSOCK(Path(folder / "7.sock").stat().st_mode)
    with pytest.raises(SystemExit, match="already in use"):
        serve(control_grpc.generic_create_grpc_server, "127.0.0.1:7")
    assert ask(server, address) == "answered"


@pytest.mark.parametrize("token", [None, "", "x" * 16, TOKEN[:-1], f"{TOKEN}0"])
def test_without_the_token_no_request_is_read(token):
    """The refusal comes before the message is taken in, which may be 2 GB."""
    runs = Runs()
    gate = private_sockets.TokenGate(TOKEN)
    address = f"127.0.0.1:{free_ports(1)[0]}"
    server = serve(flower_grpc.generic_create_grpc_server, address, runs, interceptors=[gate])
    metadata = None if token is None else [("flwr-oidc-access-token", token)]
    try:
        with pytest.raises(grpc.RpcError) as caught:
            ask(server, address, stop=False, metadata=metadata)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "FL_CONTROL_TOKEN" in caught.value.details()
        assert runs.read == []
        assert ask(server, address, stop=False, metadata=[("flwr-oidc-access-token", TOKEN)]) == "answered"
        assert len(runs.read) == 1
    finally:
        server.stop(None)


def serve(create, address, servicer=None, **options):
    server = create(
        servicer_and_add_fn=(servicer or Runs(), add_ControlServicer_to_server),
        server_address=address,
        **options,
    )
    server.start()
    return server


def ask(server, address, *, stop=True, metadata=None):
    try:
        with grpc.insecure_channel(address) as channel:
            return ControlStub(channel).ListRuns(ListRunsRequest(), timeout=10, metadata=metadata).now
    finally:
        if stop:
            server.stop(None)
