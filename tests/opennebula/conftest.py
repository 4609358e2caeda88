"""A OneGate that behaves as the real one, with a SuperLink and two SuperNodes in its service."""

import importlib.util
import os
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from oneflower.errors import ClusterError
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.appliance.stage import Stage
from oneflower.opennebula.onegate import Access, OneGate, RetryPolicy
from oneflower.opennebula.roles import CONTAINER_UID, Machine


def _load(name):
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_load("oned_template")
_load("onegate_state")
onegate_server = _load("onegate_server")

VMS = {
    10: {"role": "superlink", "ip": "10.77.0.2"},
    11: {"role": "supernode", "ip": "10.77.0.3"},
    12: {"role": "supernode", "ip": "10.77.0.4"},
}


@pytest.fixture
def onegate():
    """Serve a OneGate; the value is the server, with its `state` and `endpoint`."""
    state = onegate_server.State(VMS, {vm_id: f"token-{vm_id}" for vm_id in VMS})
    with onegate_server.OneGateServer(("127.0.0.1", 0), state) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Hours:
    """A clock that only sleeping moves on."""

    def __init__(self):
        self.now = 0.0

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def hours():
    return Hours()


@pytest.fixture
def client_of(onegate, hours):
    """Return a client that speaks as a VM; its waits take no time."""
    opened = {}

    def make(vm_id, *, token=None, endpoint=None):
        access = Access(
            endpoint=endpoint or onegate.endpoint, vm_id=str(vm_id), token=token or f"token-{vm_id}"
        )
        key = (access.endpoint, access.vm_id, access.token)
        if key not in opened:  # a client reads all certificates of the system when it is made
            opened[key] = OneGate(access, retries=RetryPolicy(clock=hours.clock, sleep=hours.sleep))
        return opened[key]

    yield make
    for client in opened.values():
        client.__exit__(None, None, None)


class FakeCommands:
    """systemctl, journalctl and ip of a machine that is not there; what was asked stands in `calls`."""

    def __init__(self):
        self.calls = []
        self.active = set()
        self.said = "INFO :      SuperNode ID: 42"
        self.broken = set()  # units that end as soon as they are started
        self.failed = set()  # those that systemd does not start again

    def run(self, *command):
        self.calls.append(command)
        program, *words = command
        name = words[-1]
        if program.endswith("journalctl"):
            return self.said
        if program == "ip":
            return '[{"addr_info": [{"local": "10.77.0.99"}]}]'
        match words[0]:
            case "restart" | "start":
                self.active |= {name} - self.broken
            case "stop":
                self.active.discard(name)
            case "is-active" if name not in self.active:
                raise ClusterError(f"{name} is inactive")
            case "is-failed" if name not in self.failed:
                raise ClusterError(f"{name} has not failed")
        return "id"

    def restarted(self):
        """Return the containers' units that were started, and forget what was asked so far."""
        names = [
            call[-1] for call in self.calls if call[1] == "restart" and call[-1] != "flower-report.service"
        ]
        self.calls.clear()
        return names


@pytest.fixture
def commands():
    return FakeCommands()


@pytest.fixture
def layout():
    """A machine's folders below a temporary root that all users may enter; as root with the real user."""
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)
        yield Layout(root=Path(root), uid=CONTAINER_UID if os.getuid() == 0 else os.getuid())


@pytest.fixture
def stage_of(layout, commands, client_of):
    """Return a stage of a machine with a context; `vm` is its id at OneGate, None for no OneGate."""

    def make(machine, vm=None, now=None, **context):
        return Stage(
            machine=Machine(machine),
            environ=context,
            onegate=client_of(vm) if vm else None,
            layout=layout,
            commands=commands,
            **({"now": lambda: now} if now else {}),
        )

    return make
