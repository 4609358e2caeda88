"""Another user of the machine commands nothing, takes no message and reads nothing of a cluster.

Cases 8, 9 and 10: as nobody, a run was submitted to the Control API, a message taken from a SuperNode, and a
token read in the process list.
"""

import json
import os
import socket
import stat
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from oneflower.flower.programs import TOKEN_VARIABLE, program_of, value_of
from oneflower.flower.sockets import port_of
from oneflower.procfs import command_line, variable_of

from ..e2e.conftest import running
from .stranger import call_everything

pytestmark = [
    pytest.mark.attacks,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("attacks-local"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user"),
]
NOBODY = 65534
FLAGS = ("--control-api-address", "--serverappio-api-address", "--clientappio-api-address")
REFUSALS = {"UNAVAILABLE", "UNIMPLEMENTED", "UNAUTHENTICATED", "PERMISSION_DENIED"}


@pytest.fixture(scope="module", params=["NO", "YES"], ids=["plain", "tls"])
def cluster(make_cluster, request):
    """A cluster whose folders any user could enter, were it not for their own modes."""
    made = make_cluster("--dashboard", TLS_ENABLED=request.param)
    for folder in made.state.parents:
        if folder != Path("/tmp") and Path("/tmp") in folder.parents:
            folder.chmod(0o755)
    return made


def commands(cluster):
    return {each.pid: command_line(each.pid) for each in running(cluster.token())}


def addresses(cluster):
    """Return the addresses of the Control and AppIo APIs, as any user reads them in the process list."""
    found = {value_of(flag, command) for command in commands(cluster).values() for flag in FLAGS}
    return sorted(address for address in found if address and not address.startswith("unix:"))


def sockets(cluster):
    return [f"unix:{cluster.state}/sockets/{port_of(address)}.sock" for address in addresses(cluster)]


@pytest.fixture(scope="module")
def seen(cluster):
    """What another user of the machine gets."""
    places = [*addresses(cluster), *sockets(cluster), cluster.address]
    pids = [str(pid) for pid, command in commands(cluster).items() if program_of(command)]
    command = [sys.executable, "-m", "tests.attacks.stranger", str(NOBODY), ",".join(places)]
    done = subprocess.run(
        [*command, str(cluster.state), ",".join(pids)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_no_call_of_the_control_and_appio_apis_is_answered(seen, cluster):
    assert len(addresses(cluster)) == 4, "of a SuperLink and two SuperNodes"
    assert len(seen["calls"]) == 9
    answered = {
        (address, path): codes
        for address, calls in seen["calls"].items()
        for path, codes in calls.items()
        if not set(codes) <= REFUSALS
    }
    assert not answered
    cluster.rounds_after(cluster.last_round)


def test_the_user_of_the_cluster_is_answered_through_its_sockets(cluster):
    """Otherwise the test above would show nothing."""
    for address in sockets(cluster):
        codes = {code for codes in call_everything(address).values() for code in codes}
        assert codes - REFUSALS, address


def test_nothing_of_a_cluster_can_be_read(seen):
    assert seen["files"] == []
    assert seen["environments"] == []


def test_no_token_is_in_the_arguments_of_a_process(cluster):
    token = variable_of(cluster.serverapp(), TOKEN_VARIABLE)
    assert token
    for command in commands(cluster).values():
        assert "--token" not in command
        assert token not in command


def test_folders_and_files_are_for_their_user_alone(cluster):
    places = [cluster.state, *cluster.state.rglob("*")]
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in places if not path.is_symlink()}
    assert not {str(path): oct(mode) for path, mode in modes.items() if mode & 0o077}
    assert any(path.name == "state.db" for path in modes)


def test_whoever_takes_the_ports_hears_nothing_and_the_training_goes_on(cluster):
    """A stranger who listens where the SuperLink did would be sent a secret, if one were sent."""
    heard = []
    for address in addresses(cluster):
        host, _, port = address.rpartition(":")
        listener = socket.create_server((host, int(port)))
        listener.settimeout(0.1)
        heard.append(listener)
    begin = cluster.last_round
    cluster.rounds_after(begin)
    for listener in heard:
        with pytest.raises(TimeoutError):
            listener.accept()
        listener.close()


def test_eleven_hundred_half_open_connections_do_not_end_up(cluster):
    """They took every descriptor of `oneflower up`, and the training with it."""
    process = cluster.processes[0]
    subprocess.run(["prlimit", f"--pid={process.pid}", "--nofile=1024:"], check=True)
    port = page_port(process.pid)
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(1100)]
    try:
        cluster.rounds_after(cluster.last_round)
        assert process.poll() is None
        assert len(list(Path(f"/proc/{process.pid}/fd").iterdir())) < 600
        with socket.create_connection(("127.0.0.1", port), timeout=30) as reader:
            reader.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert reader.recv(64).startswith(b"HTTP/1.1 200")
    finally:
        for each in held:
            each.close()


def test_the_dashboard_is_for_who_has_its_link(cluster):
    """On loopback every local user read it, and 60 pipelined requests took 10 s of a processor."""
    port = page_port(cluster.processes[0].pid)
    for path in ("", "report", "report.json", "metrics", "events"):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as reader:
            reader.sendall(f"GET /{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode() * 500)
            received = b""
            while piece := reader.recv(1 << 16):
                received += piece
        assert received.count(b"HTTP/1.1 ") == received.count(b"HTTP/1.1 401") == 1, path
    token = (cluster.state / "dashboard-token").read_text().strip()
    bearer = {"Authorization": f"Bearer {token}"}
    with urllib.request.urlopen(
        urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers=bearer), timeout=30
    ) as answer:
        assert b"oneflower_training_info" in answer.read()


def page_port(pid):
    """Return the port on which a process listens, whose page it is."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # it has been closed meanwhile
            target = str(entry.readlink())
            inodes |= {target[8:-1]} if target.startswith("socket:[") else set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in inodes:
            return int(fields[1].rpartition(":")[2], 16)
    raise AssertionError("it listens nowhere")


def test_a_call_with_grpc_reflection_or_health_tells_nothing(cluster):
    """Flower serves neither unless it is asked to; nothing of a cluster is in an answer of theirs."""
    for path in ("/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"):
        for address in addresses(cluster):
            with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError):
                channel.unary_unary(path)(b"", timeout=3)
