"""The Control API of a real SuperLink, and words for everything that may go wrong with it."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from oneflower.errors import AppError, ClusterError
from oneflower.flower.control import ControlClient
from oneflower.flower.fab import build_fab
from oneflower.flower.sockets import SOCKETS, socket_of
from oneflower.local_cluster import commands
from oneflower.local_cluster.commands import Addresses
from oneflower.local_cluster.ports import LOOPBACK
from oneflower.local_cluster.tls import make_certificates
from oneflower.settings import resolve

from ..e2e.recovery.own_ports import free_ports

WAIT_S = 240.0
TOKEN = "7f3a9c51e08b6d247f3a9c51e08b6d24"
# One SuperLink serves all tests of this module.
pytestmark = pytest.mark.xdist_group("control")
SERVER = """
import time
from flwr.serverapp import ServerApp
app = ServerApp()

@app.main()
def main(grid, context):
    print("the seed is", context.run_config["seed"], flush=True)
    if context.run_config["seed"] == 13:
        raise ValueError("thirteen brings no luck")
    time.sleep(float(context.run_config["pause-s"]))
"""
PYPROJECT = """
[project]
name = "tiny-app"
version = "1.0.0"
[tool.flwr.app]
publisher = "tests"
[tool.flwr.app.components]
serverapp = "server:app"
clientapp = "client:app"
[tool.flwr.app.config]
pause-s = 0.0
"""


def start(folder, tls=None, token=""):
    """Start a SuperLink; return its process and the socket of its Control API.

    With a token it listens on every interface, too, and the port is returned.
    """
    fleet, control, appio = (f"{LOOPBACK}:{port}" for port in free_ports(3))
    port = control.rpartition(":")[2]
    control = f"0.0.0.0:{port}" if token else control
    addresses = Addresses(fleet=fleet, control=control, serverappio=appio, clientappio=())
    settings = resolve({}, {}).settings
    command = commands.superlink(
        addresses, settings, database=folder / "state.db", storage=folder / "ffs", tls=tls
    )
    environment = commands.environment(
        os.environ, settings, nodes=1, token="test", flwr_home=folder / "flwr-home"
    )
    environment |= {SOCKETS: str(folder / "s"), "FL_CONTROL_TOKEN": token}
    with (folder / "superlink.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    return process, int(port) if token else socket_of(folder / "s", control)


def stop(process):
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for(condition):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def answers(client):
    try:
        client.runs()
    except ClusterError:
        return False
    return True


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    process, address = start(tmp_path_factory.mktemp("superlink"))
    try:
        with ControlClient(address) as made:
            wait_for(lambda: answers(made))
            yield made
    finally:
        stop(process)


@pytest.fixture(scope="module")
def fab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("app")
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "server.py").write_text(SERVER)
    (folder / "client.py").write_text("from flwr.clientapp import ClientApp\napp = ClientApp()\n")
    return build_fab(folder).content


@pytest.mark.e2e
def test_a_run_is_submitted_watched_and_its_log_is_read(client, fab):
    run_id = client.submit(fab, {"seed": 7})
    wait_for(lambda: client.status(run_id).finished)
    state = client.status(run_id)
    assert (state.run_id, state.status, state.outcome) == (run_id, "finished", "completed")
    assert "the seed is 7" in "".join(client.logs(run_id))
    assert run_id in [run.run_id for run in client.runs()]


@pytest.mark.e2e
def test_a_failed_run_tells_its_exception(client, fab):
    run_id = client.submit(fab, {"seed": 13})
    wait_for(lambda: client.status(run_id).finished)
    state = client.status(run_id)
    assert (state.outcome, state.lost) == ("failed", False)
    assert "ValueError: thirteen brings no luck" in state.details


@pytest.mark.e2e
def test_a_run_is_stopped_once(client, fab):
    run_id = client.submit(fab, {"pause-s": 60.0})
    wait_for(lambda: client.status(run_id).status == "running")
    assert client.stop(run_id)
    assert client.status(run_id).outcome == "stopped"
    assert not client.stop(run_id)


@pytest.mark.e2e
def test_a_log_that_goes_on_is_read_for_a_while(client, fab):
    run_id = client.submit(fab, {"pause-s": 60.0})
    wait_for(lambda: client.status(run_id).status == "running")
    assert "".join(client.logs(run_id, timeout_s=3.0)) is not None
    client.stop(run_id)


@pytest.mark.e2e
def test_a_run_or_node_that_does_not_exist_is_told(client):
    for act in (client.status, client.stop, client.unregister, lambda run_id: list(client.logs(run_id))):
        with pytest.raises(ClusterError, match="knows none of that id"):
            act(12345)


@pytest.mark.e2e
def test_without_supernodes_the_list_is_empty(client):
    assert client.nodes() == []


@pytest.mark.e2e
def test_what_is_no_app_is_refused(client):
    with pytest.raises(AppError, match="not a Flower App Bundle"):
        client.submit(b"no app", {})


@pytest.mark.e2e
def test_beyond_loopback_only_those_with_the_authority_and_the_token_are_answered(tmp_path, fab):
    certificates = make_certificates(tmp_path / "tls", [LOOPBACK])
    other = make_certificates(tmp_path / "other", [LOOPBACK])
    process, port = start(tmp_path, certificates, TOKEN)
    address, ca = f"{LOOPBACK}:{port}", certificates.ca.read_bytes()
    try:
        with ControlClient(socket_of(tmp_path / "s", address)) as client:
            wait_for(lambda: answers(client))
        for wrong in (None, other.ca.read_bytes()):
            with (
                ControlClient(address, wrong, token=TOKEN) as client,
                pytest.raises(ClusterError, match="TLS"),
            ):
                client.runs()
        for token in ("", "x" * 16, TOKEN[:-1], f"{TOKEN}x"):
            with ControlClient(address, ca, token=token) as client:
                for act in (client.runs, lambda: client.submit(fab, {}), lambda: list(client.logs(1))):
                    with pytest.raises(ClusterError, match="FL_CONTROL_TOKEN"):
                        act()
        with ControlClient(address, ca, token=TOKEN) as client:
            assert client.runs() == []
            client.submit(fab, {})
            assert len(client.runs()) == 1
        environ = Path(f"/proc/{next(children(process.pid))}/environ").read_bytes()
        assert TOKEN.encode() not in environ, "the programs that a SuperLink starts do not need it"
    finally:
        stop(process)


def children(pid):
    """Yield the processes that one has started and that run superexec."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                if b"superexec" in Path(f"/proc/{child}/cmdline").read_bytes():
                    yield int(child)
        time.sleep(0.1)
    raise AssertionError("no superexec was started")


def test_a_key_that_the_app_does_not_declare_is_refused_before_the_run(fab):
    with ControlClient("127.0.0.1:1") as client, pytest.raises(AppError, match="no-such-key"):
        client.submit(fab, {"no-such-key": 1})


def test_an_address_where_nothing_answers_is_told():
    port = free_ports(1)[0]
    with ControlClient(f"{LOOPBACK}:{port}") as client:
        with pytest.raises(ClusterError, match=f"{port}.*nothing answers"):
            client.nodes()
        with pytest.raises(ClusterError, match="list the runs"):
            client.runs()


@pytest.mark.e2e
@pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "grpc_proxy"])
def test_loopback_is_reached_whatever_proxy_the_environment_names(client, monkeypatch, name):
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    for exception in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(exception, raising=False)
    with ControlClient(client.address) as control:
        assert control.nodes() == []


def test_a_proxy_between_two_machines_is_named(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr("oneflower.flower.control.CALL_TIMEOUT_S", 2.0)
    with (
        ControlClient("192.0.2.1:9093") as control,
        pytest.raises(ClusterError, match=r"http_proxy.*no_proxy"),
    ):
        control.runs()
