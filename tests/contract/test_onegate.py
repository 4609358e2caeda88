"""The stand-in that all other tests speak to keeps the contract that a real OneGate keeps."""

import contextlib
import importlib.util
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _load(folder, name):
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_load("opennebula", "oned_template")
_load("opennebula", "onegate_state")
onegate_server = _load("opennebula", "onegate_server")
contract = importlib.util.module_from_spec(
    spec := importlib.util.spec_from_file_location("contract_onegate", Path(__file__).with_name("onegate.py"))
)
sys.modules["contract_onegate"] = contract
spec.loader.exec_module(contract)

VMS = {10: {"role": "superlink", "ip": "10.77.0.2"}, 11: {"role": "supernode", "ip": "10.77.0.3"}}


@contextlib.contextmanager
def served(*, in_service=True):
    state = onegate_server.State(VMS, {10: "MTA6MQ==", 11: "MTE6MQ=="})
    state.in_service = in_service
    with onegate_server.OneGateServer(("127.0.0.1", 0), state) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("in_service", [True, False])
def test_the_stand_in_differs_in_nothing(in_service):
    with served(in_service=in_service) as server:
        server.state.vms[10]["template"] = {"FL_STATE": "waiting", "INPUT": 'a "b" {c}'}
        checks, found = contract.differences(server.endpoint, "MTA6MQ==", 10, 11)
        assert found == []
        assert checks > 150
        assert server.state.vms[10]["template"] == {"FL_STATE": "waiting", "INPUT": 'a "b" {c}'}


def test_a_server_that_is_too_friendly_is_found_out(monkeypatch):
    """Before: 200 for the erase of a key that is not there, and for a value with a comma."""
    monkeypatch.setattr(onegate_server.State, "erase", lambda state, vm_id, body: None)
    with served() as server:
        _, found = contract.differences(server.endpoint, "MTA6MQ==", 10, 11)
    assert any("erase of a key that is not there" in text for text in found)


def test_a_token_that_is_refused_ends_the_run():
    with served() as server:
        assert contract.differences(server.endpoint, "wrong", 10) == (
            1,
            ["GET /vm as VM 10: status 401, Not authorized"],
        )
