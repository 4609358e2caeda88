"""Health is asked of a real SuperLink and a real SuperNode, with the certificates that the stages make."""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from oneflower.flower import arguments
from oneflower.flower.sockets import SOCKETS
from oneflower.opennebula.appliance.health import REGISTERED, superlink_answers
from oneflower.settings import resolve
from oneflower.tls import ensure_node_key, make_authority, make_server_certificate, write_certificates

from ..recovery.own_ports import free_ports

pytestmark = pytest.mark.e2e
LAUNCH = [sys.executable, "-P", "-m", "oneflower.flower.launch"]


def wait_for(condition, process):
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, "it has ended"
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture
def started(tmp_path):
    """Start Flower programs with their output in a file; all end with the test."""
    running = []

    def start(words, name, **environ):
        environ = {
            **os.environ,
            **environ,
            "FLWR_HOME": str(tmp_path / name),
            "FL_WARM_EXECUTOR": "NO",
            SOCKETS: str(tmp_path / "s"),
        }
        log = tmp_path / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*LAUNCH, *words], stdout=output, stderr=output, env=environ, cwd=tmp_path
            )
        running.append(process)
        return process, log

    yield start
    for process in reversed(running):
        process.terminate()
        process.wait()


@pytest.mark.parametrize("tls", ["YES", "NO"])
def test_a_superlink_answers_and_a_supernode_is_taken(tmp_path, started, tls):
    fleet, control, serverappio, clientappio = (f"127.0.0.1:{port}" for port in free_ports(4))
    context = {"FL_TLS_ENABLED": tls, "FL_FLEET_API_ADDRESS": fleet, "FL_CONTROL_API_ADDRESS": control}
    settings = resolve({}, context).settings
    now = datetime.now(UTC)
    authority = make_authority(now)
    certificate, key = make_server_certificate(authority, ["127.0.0.1"], now)
    files = write_certificates(
        tmp_path / "tls", ca=authority.certificate_pem(), certificate=certificate, key=key
    )
    places = arguments.SuperLinkPlaces(
        fleet=fleet,
        control=control,
        serverappio=serverappio,
        database=str(tmp_path / "state.db"),
        storage=str(tmp_path / "ffs"),
    )
    sockets = tmp_path / "s"
    assert not superlink_answers(settings, files.ca, sockets)
    is_on = settings.tls_enabled
    node_key = ensure_node_key(tmp_path / "node.key")[0]
    link, _ = started(
        arguments.superlink(settings, places, files if is_on else None),
        "superlink",
        FL_NODE_KEYS=node_key.pem.decode(),
    )
    wait_for(lambda: superlink_answers(settings, files.ca, sockets), link)

    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(make_authority(now).certificate_pem())
    assert superlink_answers(settings, stranger, sockets) is not is_on, (
        "another authority must not be trusted"
    )

    told = arguments.supernode(
        settings,
        superlink_address=fleet,
        clientappio=clientappio,
        node_config="",
        ca=str(files.ca) if is_on else None,
        key=str(tmp_path / "node.key") if is_on else None,
    )
    node, log = started(told, "supernode")
    wait_for(lambda: REGISTERED in log.read_text(), node)
