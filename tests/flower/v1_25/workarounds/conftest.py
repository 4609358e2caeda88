"""A SuperLink's state and a SuperNode's, without processes: Flower's own classes on a database in a file."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.common import ConfigRecord
from flwr.common.constant import SUPERLINK_NODE_ID, Status, SubStatus
from flwr.common.inflatable import get_all_nested_objects, get_object_tree, no_object_id_recompute
from flwr.common.typing import RunStatus
from flwr.server.superlink.fleet.grpc_rere.fleet_servicer import FleetServicer
from flwr.server.superlink.linkstate import LinkStateFactory
from flwr.supercore.constant import NOOP_FEDERATION
from flwr.supercore.ffs import FfsFactory
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.superlink.federation import NoOpFederationManager

from oneflower.flower.v1_25.workarounds import Workaround


class AbortedError(Exception):
    """What a call raises when it is aborted; `code` and `details` are what the client gets."""

    def __init__(self, code, details):
        super().__init__(details)
        self.code = code
        self.details = details


class Call:
    """What gRPC hands to a servicer: a call that the client may hang up."""

    def __init__(self):
        self.active = True
        self.callbacks = []
        self.code = self.details = None
        self.metadata = ()

    def is_active(self):
        return self.active

    def add_callback(self, callback):
        self.callbacks.append(callback)
        return True

    def abort(self, code, details):
        raise AbortedError(code, details)

    def invocation_metadata(self):
        return self.metadata

    def set_code(self, code):
        self.code = code

    def set_details(self, details):
        self.details = details

    def hang_up(self):
        self.active = False
        for callback in self.callbacks:
            callback()


@dataclass
class SuperLink:
    """State, object store and Fleet API of a SuperLink with one run and one node, both alive."""

    database: Path | str
    run_id: int = 0
    node_id: int = 0
    objects: ObjectStoreFactory = field(init=False)
    states: LinkStateFactory = field(init=False)

    def __post_init__(self):
        self.objects = ObjectStoreFactory(str(self.database))
        self.states = LinkStateFactory(str(self.database), NoOpFederationManager(), self.objects)
        state = self.states.state()
        self.run_id = state.create_run("a/b", "1.0.0", "hash", {}, NOOP_FEDERATION, ConfigRecord(), "")
        for status in (Status.STARTING, Status.RUNNING):
            state.update_run_status(self.run_id, RunStatus(status, "", ""))
        self.node_id = self.add_node(b"key")

    def add_node(self, key):
        state = self.states.state()
        node_id = state.create_node("aid", "name", key, 30)
        state.activate_node(node_id, 30)
        return node_id

    def finish(self):
        self.states.state().update_run_status(
            self.run_id, RunStatus(Status.FINISHED, SubStatus.COMPLETED, "")
        )

    def fleet(self):
        ffs = FfsFactory(str(Path(self.database).parent / "ffs"))
        return FleetServicer(self.states, ffs, self.objects, enable_supernode_auth=False)

    def message(self, values=(1.0, 2.0)):
        """Return a message of the ServerApp's for the node, with an array."""
        import numpy as np

        content = RecordDict({"arrays": ArrayRecord([np.array(values)])})
        message = Message(content, self.node_id, "train")
        message.metadata.__dict__.update(_run_id=self.run_id, _src_node_id=SUPERLINK_NODE_ID)
        message.metadata.__dict__["_message_id"] = message.object_id
        return message

    def push(self, message, *, without_objects=False):
        """Store a message, or a reply, as the two servicers do."""
        state, store = self.states.state(), self.objects.store()
        with no_object_id_recompute():
            store.preregister(self.run_id, get_object_tree(message))
            if not without_objects:
                for object_id, part in get_all_nested_objects(message).items():
                    store.put(object_id, part.deflate())
        if message.metadata.reply_to_message_id:
            return state.store_message_res(message)
        return state.store_message_ins(message)

    def reply(self, to, content=None):
        reply = Message(content or RecordDict(), reply_to=to)
        reply.metadata.__dict__["_message_id"] = reply.object_id
        return reply


@pytest.fixture
def superlink(tmp_path):
    return SuperLink(tmp_path / "state.db")


@pytest.fixture
def call():
    return Call()


@pytest.fixture
def apply(monkeypatch):
    """Put a workaround in place until the end of the test."""

    def put_in_place(workaround: Workaround):
        workaround.apply(monkeypatch.setattr)

    return put_in_place
