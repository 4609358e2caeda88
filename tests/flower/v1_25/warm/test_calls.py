"""The calls of a real executor over gRPC: at a SuperNode of ours, and at Flower's without a workaround."""

from collections import Counter
from concurrent import futures

import grpc
import numpy as np
import pytest
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.common.inflatable import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.common.inflatable_utils import inflate_object_from_contents
from flwr.common.message import remove_content_from_message
from flwr.common.typing import Run
from flwr.proto.clientappio_pb2_grpc import add_ClientAppIoServicer_to_server
from flwr.supercore.ffs import FfsFactory
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supernode import start_client_internal
from flwr.supernode.nodestate import NodeStateFactory
from flwr.supernode.servicer.clientappio.clientappio_servicer import ClientAppIoServicer

from oneflower.flower.programs import TOKEN_VARIABLE
from oneflower.flower.v1_25.bundles import OBJECT_BYTES, TOKEN, enclosed
from oneflower.flower.v1_25.warm import calls
from oneflower.flower.v1_25.warm import executor as executor_module
from oneflower.flower.v1_25.warm.executor import Executor
from oneflower.flower.v1_25.workarounds import bundled_calls, executor_calls

RUN, NODE, BEAT = 7, 5, "SendAppHeartbeat"
LARGE = np.arange(OBJECT_BYTES, dtype=np.float64)
ECHO = """
@app.train()
def train(message, context):
    if message.content["arrays"].to_numpy_ndarrays()[0][0] < 0:
        raise ValueError("negative")
    context.state["seen"] = ConfigRecord({"text": "x" * context.run_config.get("kept", 1)})
    return Message(RecordDict({"arrays": message.content["arrays"]}), reply_to=message)
"""
ASKED_FOR = {"ListAppsToLaunch": 1, "RequestToken": 1, "PullClientAppInputs": 1, "PullMessage": 1}
SINGLE = {**ASKED_FOR, "ConfirmMessageReceived": 1, "PushMessage": 1, "PushClientAppOutputs": 1}


class SuperNode:
    """Flower's servicer at a port of this machine, one run, and an executor that calls it."""

    def __init__(self, folder, fab, *, kept=1):
        self.objects = ObjectStoreFactory()
        states, ffs = NodeStateFactory(self.objects), FfsFactory(str(folder / "ffs"))
        self.state, self.store, self.calls = states.state(), self.objects.store(), Counter()
        self.servicer = ClientAppIoServicer(states, ffs, self.objects)
        ffs.ffs().put(fab.content, {})
        run = Run.create_empty(RUN)
        run.fab_id, run.fab_version, run.fab_hash = "tests/warm", "1.0.0", fab.hash_str
        self.state.store_run(run)
        config = {"kept": kept}
        self.state.store_context(Context(RUN, NODE, {"partition-id": 0}, RecordDict(), config))
        noted, supernode, self.counts_beats = self.calls, self, False

        class Counting(grpc.ServerInterceptor):
            def intercept_service(self, continuation, details):
                method = details.method.rpartition("/")[2]
                if method != BEAT or supernode.counts_beats:
                    noted[method] += 1
                return continuation(details)

        self.server = grpc.server(futures.ThreadPoolExecutor(4), interceptors=[Counting()])
        add_ClientAppIoServicer_to_server(self.servicer, self.server)
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.executor = Executor(f"127.0.0.1:{port}", folder / "flwr")

    def stop(self):
        self.executor._nursery.forget()
        self.executor._channel.close()
        self.server.stop(None).wait(10)

    def receive(self, values):
        """Let a message come from the SuperLink."""
        message = Message(
            RecordDict({"arrays": ArrayRecord([np.asarray(values, dtype=np.float64)])}), NODE, "train"
        )
        message.metadata.__dict__["_run_id"] = RUN
        message.metadata.__dict__["_message_id"] = message.object_id
        self.store.preregister(RUN, get_object_tree(message))
        with no_object_id_recompute():
            for key, each in get_all_nested_objects(message).items():
                self.store.put(key, each.deflate())
        self.state.store_message(remove_content_from_message(message))
        return message.metadata.message_id

    def reply(self):
        """Send the reply on to the SuperLink, as Flower does; return it."""
        found = []

        def send(message, tree, _runtime):
            ids = [each.object_id for each in iterate_object_tree(tree)]
            contents = {key: self.store.get(key) for key in ids}
            found.append(inflate_object_from_contents(tree.object_id, contents))
            return set()

        start_client_internal._push_messages(
            state=self.state, object_store=self.store, send=send, push_object=lambda *_: None
        )
        (reply,) = found
        return reply


@pytest.fixture
def supernode(request, warm, tmp_path, monkeypatch):
    """Return a SuperNode; its parameters: whether it is ours, and the bytes that its app keeps."""
    ours, kept = request.param
    for each in (bundled_calls.SUPERNODE, executor_calls.WORKAROUND) if ours else ():
        each.apply(monkeypatch.setattr)
    made = SuperNode(tmp_path, warm.fab(ECHO), kept=kept)
    yield made
    made.stop()


def supernodes(*given):
    return pytest.mark.parametrize("supernode", given, indirect=True, ids=lambda each: f"ours={each[0]}")


OURS, STOCK, KEEPING = (True, 1), (False, 1), (True, 3 * OBJECT_BYTES)


@supernodes(OURS)
def test_a_message_is_three_calls(supernode):
    message_id = supernode.receive([1.0, 2.0])
    assert supernode.executor.run_next()
    assert supernode.calls == {"ListAppsToLaunch": 1, "PullMessage": 1, "PushMessage": 1}
    reply = supernode.reply()
    assert reply.metadata.reply_to_message_id == message_id
    assert reply.content["arrays"].to_numpy_ndarrays()[0].tolist() == [1.0, 2.0]
    assert supernode.state.get_context(RUN).state["seen"]["text"] == "x"
    assert not supernode.state.token_store  # the next message of this run may start
    assert len(supernode.store) == 0


@supernodes(STOCK)
def test_flowers_own_supernode_is_called_for_each_step(supernode):
    supernode.receive([1.0, 2.0])
    assert supernode.executor.run_next()
    objects = {key: supernode.calls.pop(key) for key in ("PullObject", "PushObject")}
    assert supernode.calls == SINGLE
    assert min(objects.values()) > 3
    assert supernode.reply().content["arrays"].to_numpy_ndarrays()[0].tolist() == [1.0, 2.0]
    assert len(supernode.store) == 0


@supernodes(OURS)
def test_a_large_array_is_fetched_confirmed_and_sent_by_calls_of_their_own(supernode):
    supernode.receive(LARGE)
    assert supernode.executor.run_next()
    assert supernode.calls["PullObject"] == supernode.calls["ConfirmMessageReceived"] == 1
    assert supernode.calls["PushObject"] == supernode.calls["PushClientAppOutputs"] == 1
    assert "RequestToken" not in supernode.calls
    assert supernode.reply().content["arrays"].to_numpy_ndarrays()[0].tolist() == LARGE.tolist()
    assert len(supernode.store) == 0


@supernodes(KEEPING)
def test_a_large_state_of_an_app_has_a_call_of_its_own(supernode):
    supernode.receive([1.0])
    assert supernode.executor.run_next()
    assert supernode.calls == {
        "ListAppsToLaunch": 1,
        "PullMessage": 1,
        "PushMessage": 1,
        "PushClientAppOutputs": 1,
    }
    supernode.reply()
    assert len(supernode.state.get_context(RUN).state["seen"]["text"]) == 3 * OBJECT_BYTES
    supernode.receive([2.0])  # the next one brings it all the way back
    assert supernode.executor.run_next()
    assert supernode.reply().content["arrays"].to_numpy_ndarrays()[0].tolist() == [2.0]


@supernodes(OURS)
def test_an_app_that_is_not_there_is_refused_as_by_flower(supernode):
    """The token is enclosed, its inputs are not: the executor calls for them, and is told why."""
    supernode.receive([1.0])
    supernode.servicer.ffs_factory.ffs().delete(supernode.state.get_run(RUN).fab_hash)
    assert supernode.executor.run_next()
    assert supernode.calls == {"ListAppsToLaunch": 1, "PullClientAppInputs": 1}
    assert not supernode.executor.run_next()  # its run is held by the token until that expires


@supernodes(OURS)
def test_an_app_of_many_files_has_a_call_of_its_own(supernode, monkeypatch):
    monkeypatch.setattr(executor_calls, "REQUEST_BYTES", 1000)
    supernode.receive([1.0])
    assert supernode.executor.run_next()
    assert supernode.calls["PullClientAppInputs"] == 1
    assert "RequestToken" not in supernode.calls


@supernodes(OURS)
def test_an_app_that_cannot_be_forked_runs_in_flowers_own_process(supernode, monkeypatch):
    """Its token has a heartbeat before that process starts, which pulls the message itself."""
    supernode.counts_beats, started = True, []
    monkeypatch.setattr(
        executor_module.subprocess, "Popen", lambda command, env: started.append((command, env))
    )
    zygote = supernode.executor._nursery._zygote
    monkeypatch.setattr(supernode.executor._nursery, "zygote_for", lambda *_: (zygote, None))
    zygote.unforkable = "threads"
    supernode.receive([1.0])
    assert supernode.executor.run_next()
    assert supernode.calls == {"ListAppsToLaunch": 1, BEAT: 1}
    ((command, env),) = started
    assert "clientapp" in command
    assert env[TOKEN_VARIABLE] in supernode.state.token_to_run_id
    supernode.executor._cold.clear()


@supernodes(OURS)
def test_another_executor_may_be_quicker(supernode, monkeypatch):
    supernode.receive([1.0])
    monkeypatch.setattr(supernode.state, "create_token", lambda _run_id: None)
    assert not supernode.executor.run_next()
    assert supernode.calls == {"ListAppsToLaunch": 1}


@supernodes(OURS)
def test_who_does_not_ask_takes_no_token(supernode):
    """Flower's superexec asks which runs have messages, and starts a process that takes the token."""
    supernode.receive([1.0])
    stub = supernode.executor._stub
    answer = stub.ListAppsToLaunch(calls.ListAppsToLaunchRequest())
    assert list(answer.run_ids) == [RUN]
    assert TOKEN not in enclosed(answer)
    assert not supernode.state.token_store


@supernodes(OURS)
def test_the_token_of_a_long_message_is_kept_alive(supernode, monkeypatch):
    monkeypatch.setattr(executor_module, "FIRST_BEAT_S", 0.0)
    supernode.counts_beats = True
    supernode.receive([1.0])
    assert supernode.executor.run_next()
    assert supernode.calls[BEAT] == 1


@supernodes(OURS)
def test_the_error_of_an_app_ends_its_token_too(supernode):
    supernode.receive([-1.0])
    assert supernode.executor.run_next()
    assert supernode.reply().has_error()
    assert not supernode.state.token_store
    assert len(supernode.store) == 0
