"""A real zygote that has loaded a small app from a real FAB, and messages to run in its children."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp  # noqa: F401 - the apps of these tests are ClientApps
from flwr.common import Error
from flwr.common.inflatable import get_all_nested_objects
from flwr.common.inflatable_utils import inflate_object_from_contents
from flwr.common.serde import context_from_proto, context_to_proto
from flwr.common.typing import Fab, Run
from flwr.proto.message_pb2 import Context as ProtoContext
from flwr.proto.message_pb2 import ObjectTree

from oneflower.flower.fab import build_fab
from oneflower.flower.v1_25.warm.app import CONTEXT, TREE
from oneflower.flower.v1_25.warm.exchange import Parcel, ParcelWriter, new_parcel
from oneflower.flower.v1_25.warm.nursery import Nursery

PROJECT = """
[project]
name = "warm"
version = "1.0.0"
[tool.flwr.app]
publisher = "tests"
[tool.flwr.app.components]
serverapp = "warm_app:server"
clientapp = "warm_app:app"
[tool.flwr.app.config]
"""
HEAD = """
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

app, server = ClientApp(), ServerApp()
"""


@dataclass
class Warm:
    """Zygotes for apps that are given as source text."""

    folder: Path
    deadline_s: float = 60.0
    lost: bool = False
    node_config: dict = field(default_factory=dict)
    nursery: Nursery = field(init=False)
    kept: Context = field(init=False)  # what the SuperNode keeps for the next message

    def __post_init__(self):
        self.nursery = Nursery(self.folder / "flwr")

    def fab(self, source):
        folder = self.folder / f"app-{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        (folder / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
        (folder / "warm_app.py").write_text(HEAD + source, encoding="utf-8")
        fab = build_fab(folder)
        return Fab(fab.hash, fab.content, {})

    def load(self, fab):
        run = Run.create_empty(1)
        run.fab_id, run.fab_version, run.fab_hash = "tests/warm", "1.0.0", fab.hash_str
        return self.nursery.zygote_for(run, fab)

    def run(self, zygote, content=None):
        """Run one message; return the reply."""
        message = Message(content or RecordDict(), 1, "train")
        message_id = message.metadata.__dict__["_message_id"] = message.object_id
        context = Context(
            run_id=1, node_id=1, node_config=self.node_config, state=RecordDict(), run_config={}
        )
        inputs, outputs = new_parcel("inputs"), new_parcel("outputs")
        try:
            parcel = ParcelWriter(inputs)
            parcel.add(CONTEXT, context_to_proto(context).SerializeToString())
            for object_id, part in get_all_nested_objects(message).items():
                parcel.add(object_id, part.deflate())
            parcel.close()
            zygote.run(message_id, inputs, outputs, deadline_s=self.deadline_s, lost=lambda: self.lost)
            with Parcel(outputs) as answer:
                tree = ObjectTree.FromString(answer[TREE])
                self.kept = context_from_proto(ProtoContext.FromString(answer[CONTEXT]))
                return inflate_object_from_contents(
                    tree.object_id, {name: answer[name] for name in answer if len(name) == 64}
                )
        finally:
            os.close(inputs)
            os.close(outputs)

    def answers(self, source, times=1, content=None):
        """Load an app and run messages; return their metrics, or the error of the only one."""
        zygote, error = self.load(self.fab(source))
        if error:
            return Error(*error)
        replies = [self.run(zygote, content) for _ in range(times)]
        found = [
            reply.error if reply.has_error() else dict(reply.content.metric_records["m"]) for reply in replies
        ]
        return found if times > 1 else found[0]


@pytest.fixture
def warm(tmp_path, monkeypatch):
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "0")
    made = Warm(tmp_path)
    yield made
    made.nursery.forget()


@pytest.fixture
def numbers():
    return RecordDict({"arrays": ArrayRecord([np.arange(4.0)])})
