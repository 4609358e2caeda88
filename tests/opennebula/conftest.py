"""A OneGate that behaves as the real one, with a SuperLink and two SuperNodes in its service."""

import importlib.util
import sys
import threading
from pathlib import Path

import pytest

from oneflower.opennebula.onegate import Access, OneGate


def _load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


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


@pytest.fixture
def client_of(onegate):
    """Return a client that speaks as a VM, without pauses between its tries."""
    opened = []

    def make(vm_id, *, token=None, endpoint=None, tries=3):
        access = Access(
            endpoint=endpoint or onegate.endpoint, vm_id=str(vm_id), token=token or f"token-{vm_id}"
        )
        opened.append(OneGate(access, tries=tries, sleep=lambda _: None))
        return opened[-1]

    yield make
    for client in opened:
        client.__exit__(None, None, None)
