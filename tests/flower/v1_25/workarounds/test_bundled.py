"""Small objects go with their messages: at the Fleet API, at the ServerApp's and at the executor's."""

import sqlite3
from collections import Counter
from concurrent import futures
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common import inflatable
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.common.inflatable import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.common.inflatable_protobuf_utils import make_pull_object_fn_protobuf
from flwr.common.message import remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.appio_pb2 import PullAppMessagesRequest, PushAppMessagesRequest
from flwr.proto.fleet_pb2 import PullMessagesRequest, PullMessagesResponse, PushMessagesRequest
from flwr.proto.message_pb2 import PullObjectResponse, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.serverappio_pb2_grpc import add_ServerAppIoServicer_to_server
from flwr.server.grid.grpc_grid import GrpcGrid
from flwr.server.superlink.serverappio.serverappio_servicer import ServerAppIoServicer
from flwr.supercore.ffs import FfsFactory
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore
from flwr.supernode import start_client_internal
from flwr.supernode.nodestate import NodeStateFactory
from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState
from flwr.supernode.servicer.clientappio.clientappio_servicer import ClientAppIoServicer

from oneflower.flower.v1_25.bundles import (
    LOOKED_AT,
    MESSAGE_BYTES,
    OBJECT_BYTES,
    ask,
    attach,
    attached,
    small_objects,
)
from oneflower.flower.v1_25.fleet_limits import Limits
from oneflower.flower.v1_25.workarounds import bundled_answers, bundled_calls, executor_calls, reply_limits
from oneflower.flower.v1_25.workarounds.delivery import RECALL

from .conftest import AbortedError, Call

LARGE = np.arange(OBJECT_BYTES, dtype=np.float64)


def contents_of(message):
    with no_object_id_recompute():
        return {key: each.deflate() for key, each in get_all_nested_objects(message).items()}


@pytest.fixture
def node(superlink, apply):
    """Return the Fleet API with the limits of replies and with bundles, called by a node."""
    for each in (RECALL, reply_limits.within(Limits()), bundled_answers.WORKAROUND):
        apply(each)
    return FleetNode(superlink)


class FleetNode:
    def __init__(self, superlink):
        self.superlink, self.servicer = superlink, superlink.fleet()
        self.node = Node(node_id=superlink.node_id)

    def pull(self, *, asking=True):
        request = PullMessagesRequest(node=self.node)
        if asking:
            ask(request)
        return self.servicer.PullMessages(request, Call())

    def push(self, reply, contents):
        request = PushMessagesRequest(
            node=self.node,
            messages_list=[message_to_proto(remove_content_from_message(reply))],
            message_object_trees=[get_object_tree(reply)],
        )
        attach(request, contents.items())
        return set(self.servicer.PushMessages(request, Call()).objects_to_push)

    def replied(self, *arrays):
        """Pull a message, and return a reply to it that is not pushed yet."""
        message = self.superlink.message()
        self.superlink.push(message)
        self.pull()
        content = RecordDict({"arrays": ArrayRecord(list(arrays)), "m": MetricRecord({"loss": 0.5})})
        return self.superlink.reply(message, content)


class TestFleet:
    def test_a_message_comes_with_its_objects(self, superlink, node):
        message = superlink.message()
        superlink.push(message)
        assert attached(node.pull()) == contents_of(message)

    def test_a_stock_supernode_gets_none(self, superlink, node):
        superlink.push(superlink.message())
        response = node.pull(asking=False)
        assert len(response.messages_list) == 1
        assert attached(response) == {}

    def test_a_large_array_has_a_call_of_its_own(self, superlink, node):
        message = superlink.message(values=LARGE)
        superlink.push(message)
        found = attached(node.pull())
        assert len(found) == len(contents_of(message)) - 1
        assert max(map(len, found.values())) <= OBJECT_BYTES

    def test_what_is_not_there_yet_is_not_sent(self, superlink, node):
        superlink.push(superlink.message(), without_objects=True)
        assert attached(node.pull()) == {}

    def test_a_reply_is_whole_after_one_call(self, superlink, node):
        reply = node.replied(np.ones(3))
        contents = contents_of(reply)
        assert node.push(reply, contents) == set()
        store = superlink.objects.store()
        assert {key: store.get(key) for key in contents} == contents
        message_id = reply.metadata.reply_to_message_id
        (found,) = superlink.states.state().get_message_res({message_id})
        assert found.metadata.message_id == reply.metadata.message_id

    def test_what_does_not_go_with_it_is_asked_for(self, node):
        reply = node.replied(LARGE)
        contents = contents_of(reply)
        large = {key for key, each in contents.items() if len(each) > OBJECT_BYTES}
        assert node.push(reply, contents) == large != set()

    def test_a_content_that_is_not_the_objects_is_asked_for_again(self, superlink, node):
        reply = node.replied(np.ones(3))
        contents = contents_of(reply)
        wrong = next(iter(contents))
        other = contents_of(superlink.message(values=(9.0,)))
        assert node.push(reply, {**contents, wrong: next(iter(other.values()))}) == {wrong}
        assert superlink.objects.store().get(wrong) == b""

    def test_what_was_wrong_can_be_sent_right(self, superlink, node):
        reply = node.replied(np.ones(3))
        contents = contents_of(reply)
        wrong = next(iter(contents))
        node.push(reply, {**contents, wrong: b"ConfigRecord 0\0"})
        form = PushObjectRequest(node=node.node, run_id=superlink.run_id, object_id=wrong)
        form.object_content = contents[wrong]
        assert node.servicer.PushObject(form, Call()).stored
        assert superlink.objects.store().get(wrong) == contents[wrong]
        assert superlink.states.state().get_message_res({reply.metadata.reply_to_message_id})

    def test_only_what_is_attached_counts_as_sent(self, superlink, node, monkeypatch):
        pulled, pull_object = [], type(node.servicer).PullObject

        def noting(servicer, request, context):
            pulled.append(request.object_id)
            return pull_object(servicer, request, context)

        monkeypatch.setattr(type(node.servicer), "PullObject", noting)
        arrays = [np.full(1800, float(number)) for number in range(20)]  # 15 kB each
        content = RecordDict({"arrays": ArrayRecord(arrays)})
        message = Message(content, superlink.node_id, "train")
        message.metadata.__dict__.update(_run_id=superlink.run_id, _src_node_id=SUPERLINK_NODE_ID)
        message.metadata.__dict__["_message_id"] = message.object_id
        superlink.push(message)
        found = attached(node.pull())
        assert sum(map(len, found.values())) <= MESSAGE_BYTES
        assert sorted(pulled) == sorted(found)

    def test_a_message_is_delivered_where_its_objects_cannot_be_read(self, superlink, node, monkeypatch):
        def failing(*_):
            raise sqlite3.OperationalError("disk I/O error")

        superlink.push(superlink.message())
        monkeypatch.setattr(bundled_answers, "_that_fit", failing)
        response = node.pull()
        assert len(response.messages_list) == 1
        assert attached(response) == {}

    def test_objects_of_no_reply_are_dropped(self, superlink, node):
        reply, stray = node.replied(np.ones(3)), contents_of(superlink.message(values=(9.0,)))
        node.push(reply, {**stray, **contents_of(reply)})
        store = superlink.objects.store()
        assert not any(key in store for key in stray)

    def test_they_count_for_the_limit_of_a_reply(self, superlink, monkeypatch):
        """An attached object is refused as one that has a call of its own."""
        for each in (RECALL, reply_limits.within(Limits(max_update_bytes=500)), bundled_answers.WORKAROUND):
            each.apply(monkeypatch.setattr)
        node = FleetNode(superlink)
        reply = node.replied(np.ones(300))
        with pytest.raises(AbortedError, match="a reply of more than 0 MB"):
            node.push(reply, contents_of(reply))
        assert not any(key in superlink.objects.store() for key in contents_of(reply))

    def test_flower_asks_for_all_of_them(self, superlink):
        node = FleetNode(superlink)
        reply = node.replied(np.ones(3))
        assert node.push(reply, contents_of(reply)) == set(contents_of(reply))


@pytest.fixture
def grid(request, superlink, tmp_path, monkeypatch):
    """Return a ServerApp's Grid that calls a real server, and how often it has called what."""
    bundled_calls.SERVERAPP.apply(monkeypatch.setattr)
    if request.cls is TestServerApp:  # Flower looks its methods up when the server is made
        bundled_answers.WORKAROUND.apply(monkeypatch.setattr)
    calls = Counter()

    class Counting(grpc.ServerInterceptor):
        def intercept_service(self, continuation, details):
            calls[details.method.rpartition("/")[2]] += 1
            return continuation(details)

    servicer = ServerAppIoServicer(superlink.states, FfsFactory(str(tmp_path / "ffs")), superlink.objects)
    server = grpc.server(futures.ThreadPoolExecutor(4), interceptors=[Counting()])
    add_ServerAppIoServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    made = GrpcGrid(f"127.0.0.1:{port}")
    made.set_run(superlink.run_id)
    calls.clear()
    yield made, calls
    made.close()
    server.stop(None).wait(10)


def work(superlink, number=0, kind="train"):
    content = RecordDict({"arrays": ArrayRecord([np.arange(9.0)]), "c": ConfigRecord({"number": number})})
    return Message(content, superlink.node_id, kind)


class TestServerApp:
    def test_a_message_and_its_reply_are_three_calls(self, superlink, grid):
        grid, calls = grid
        sent = work(superlink)
        (message_id,) = grid.push_messages([sent])
        assert calls == {"PushMessages": 1}
        message = superlink.message()
        message.metadata.__dict__["_message_id"] = message_id
        message.metadata.created_at = sent.metadata.created_at  # a reply must end when its message does
        content = RecordDict({"arrays": ArrayRecord([np.full(5, 0.5)])})
        superlink.push(superlink.reply(message, content))
        (reply,) = grid.pull_messages([message_id])
        assert calls == {"PushMessages": 1, "PullMessages": 1, "ConfirmMessageReceived": 1}
        assert reply.content["arrays"].to_numpy_ndarrays()[0].tolist() == [0.5] * 5

    def test_the_superlink_has_what_was_sent(self, superlink, grid):
        grid, _ = grid
        message = work(superlink)
        (message_id,) = grid.push_messages([message])
        tree = superlink.objects.store().get_object_tree(message_id)
        ids = [each.object_id for each in inflatable.iterate_object_tree(tree)]
        assert len(ids) >= 6
        assert all(superlink.objects.store().get(each) for each in ids)

    def test_a_model_goes_with_the_first_messages_of_a_phase(self, superlink, grid, monkeypatch):
        grid, _ = grid
        monkeypatch.setattr(bundled_calls, "ALWAYS", 1)
        sizes, original = [], bundled_calls.attach

        def noting(request, contents):
            sizes.append(len(ids := original(request, contents)))
            return ids

        monkeypatch.setattr(bundled_calls, "attach", noting)
        for number in range(3):
            grid.push_messages([work(superlink, number)])
        assert sizes[0] > sizes[1] == sizes[2]
        grid.push_messages([work(superlink, 3, kind="evaluate")])
        assert sizes[3] == sizes[0]

    def test_of_many_messages_at_once_a_few_objects_are_written_twice(self, superlink):
        """Of 200 messages with a large record each was written whole, and all were kept."""
        messages = [work(superlink, number) for number in range(400)]
        assert len(list(small_objects(messages, {}))) == LOOKED_AT
        ids = [object_id for object_id, _ in small_objects(messages[:9], {})]
        assert len(ids) == len(set(ids))

    def test_a_node_that_was_quick_costs_the_next_one_nothing(self, superlink, grid):
        """It had its model before the next node's message was sent: the SuperLink had forgotten the model."""
        grid, calls = grid
        for number in range(3):
            (message_id,) = grid.push_messages([work(superlink, number)])
            superlink.objects.store().delete(message_id)
        assert calls == {"PushMessages": 3}

    def test_what_was_forgotten_meanwhile_is_sent_again(self, superlink, grid, monkeypatch):
        grid, calls = grid
        monkeypatch.setattr(bundled_calls, "ALWAYS", 1)
        (first,) = grid.push_messages([work(superlink, 0)])
        superlink.objects.store().delete(first)  # its node has it
        (second,) = grid.push_messages([work(superlink, 1)])
        assert calls["PushObject"] > 0
        tree = superlink.objects.store().get_object_tree(second)
        assert all(
            superlink.objects.store().get(each.object_id) for each in inflatable.iterate_object_tree(tree)
        )


def test_a_superlink_that_does_not_know_bundles_is_asked_object_by_object(superlink, grid):
    grid, calls = grid
    (message_id,) = grid.push_messages([work(superlink)])
    assert calls["PushObject"] == 6
    tree = superlink.objects.store().get_object_tree(message_id)
    assert all(superlink.objects.store().get(each.object_id) for each in inflatable.iterate_object_tree(tree))


class TestSuperNode:
    """Flower lists a message for the executor when it stores it: its small objects are there by then."""

    @pytest.fixture
    def pull(self, superlink, apply):
        apply(bundled_calls.SUPERNODE)
        store = InMemoryObjectStore()
        state, seen = InMemoryNodeState(store), SimpleNamespace(ids=[], pulled=[], confirmed=0)
        state.store_run(SimpleNamespace(run_id=superlink.run_id))
        store_message = state.store_message

        def looking(message):
            ids = [
                each.object_id
                for each in iterate_object_tree(store.get_object_tree(message.metadata.message_id))
            ]
            seen.ids = [key for key in ids if store.get(key)]
            return store_message(message)

        state.store_message = looking

        def pull(message, *, attaching=True, wrong=()):
            """Pull a message from a SuperLink that attaches objects, some with the content of others."""
            contents = contents_of(message)
            response = PullMessagesResponse(
                messages_list=[message_to_proto(remove_content_from_message(message))],
                message_object_trees=[get_object_tree(message)],
            )
            for key, content in contents.items() if attaching else ():
                attach(response, [(key, b"ConfigRecord 0\0" if key in wrong else content)])

            def pull_object(request, **_):
                seen.pulled.append(request.object_id)
                return PullObjectResponse(
                    object_found=True, object_available=True, object_content=contents[request.object_id]
                )

            def confirm(*_):
                seen.confirmed += 1

            stub = SimpleNamespace(
                PullMessages=lambda _request, **_: response, PushMessages=None, PullObject=pull_object
            )
            bundled_calls.bundle_calls(stub)
            node = Node(node_id=superlink.node_id)

            def receive():
                answer = stub.PullMessages(PullMessagesRequest(node=node))
                head = message_from_proto(answer.messages_list[0])
                return head, answer.message_object_trees[0]

            start_client_internal._pull_and_store_message(
                state=state,
                ffs=None,
                object_store=store,
                node_config={},
                receive=receive,
                get_run=None,
                get_fab=None,
                pull_object=lambda run_id, key: make_pull_object_fn_protobuf(stub.PullObject, node, run_id)(
                    key
                ),
                confirm_message_received=confirm,
                trusted_entities=None,
            )
            return {key: store.get(key) for key in contents if key in store}

        return pull, seen, state

    def test_what_came_is_there_when_the_message_is_listed(self, superlink, pull):
        pull, seen, _ = pull
        message = superlink.message()
        assert pull(message) == contents_of(message)
        assert sorted(seen.ids) == sorted(contents_of(message))
        assert seen.pulled == []
        assert seen.confirmed == 1

    def test_large_arrays_come_after_it(self, superlink, pull):
        pull, seen, _ = pull
        message = superlink.message(values=LARGE)
        assert pull(message) == contents_of(message)
        (large,) = (key for key, each in contents_of(message).items() if len(each) > OBJECT_BYTES)
        assert seen.pulled == [large]
        assert sorted([*seen.ids, large]) == sorted(contents_of(message))

    def test_a_superlink_that_attaches_none_is_asked_for_each(self, superlink, pull):
        pull, seen, _ = pull
        message = superlink.message()
        assert pull(message, attaching=False) == contents_of(message)
        assert seen.ids == []
        assert sorted(seen.pulled) == sorted(contents_of(message))

    def test_a_wrong_content_gives_the_message_up_as_in_flower(self, superlink, pull):
        pull, seen, state = pull
        message = superlink.message()
        assert pull(message, wrong=[message.object_id]) == {}
        assert seen.confirmed == 0
        assert state.msg_store == {}


class TestExecutor:
    @pytest.fixture
    def supernode(self, superlink, apply):
        apply(bundled_calls.SUPERNODE)
        apply(executor_calls.WORKAROUND)
        objects = ObjectStoreFactory()
        states = NodeStateFactory(objects)
        return ClientAppIoServicer(states, None, objects), states.state(), objects.store()

    def received(self, superlink, supernode):
        """Let a SuperNode have a message; return it, and the token for its run."""
        _, state, store = supernode
        message = superlink.message()
        store.preregister(superlink.run_id, get_object_tree(message))
        for key, content in contents_of(message).items():
            store.put(key, content)
        state.store_message(remove_content_from_message(message))
        return message, state.create_token(superlink.run_id)

    def test_it_gets_the_message_with_its_objects(self, superlink, supernode):
        message, token = self.received(superlink, supernode)
        request = PullAppMessagesRequest(token=token)
        ask(request)
        assert attached(supernode[0].PullMessage(request, Call())) == contents_of(message)

    def test_a_stock_executor_gets_none(self, superlink, supernode):
        _, token = self.received(superlink, supernode)
        response = supernode[0].PullMessage(PullAppMessagesRequest(token=token), Call())
        assert len(response.messages_list) == 1
        assert attached(response) == {}

    def push(self, superlink, supernode, token, message):
        supernode[1].record_message_processing_start(message.metadata.message_id)
        reply = superlink.reply(message, RecordDict({"arrays": ArrayRecord([np.ones(2), LARGE])}))
        request = PushAppMessagesRequest(
            token=token,
            messages_list=[message_to_proto(remove_content_from_message(reply))],
            message_object_trees=[get_object_tree(reply)],
        )
        attach(request, contents_of(reply).items())
        return reply, set(supernode[0].PushMessage(request, Call()).objects_to_push)

    def test_what_it_sends_with_a_reply_is_there_before_the_reply_is(self, superlink, supernode):
        message, token = self.received(superlink, supernode)
        reply, wanted = self.push(superlink, supernode, token, message)
        large = {key for key, each in contents_of(reply).items() if len(each) > OBJECT_BYTES}
        assert wanted == large != set()
        assert all(
            supernode[2].get(key) == each for key, each in contents_of(reply).items() if key not in large
        )

    def test_the_time_of_a_reply_is_noted_before_the_reply_is_there(self, superlink, supernode, monkeypatch):
        """A SuperNode that looked in between dropped the reply: its time was missing."""
        message, token = self.received(superlink, supernode)
        state, found = supernode[1], []
        store_message = state.store_message

        def looking(reply):
            found.append(state.get_message_processing_duration(message.metadata.message_id))
            return store_message(reply)

        monkeypatch.setattr(state, "store_message", looking)
        self.push(superlink, supernode, token, message)
        assert found[0] >= 0

    def test_a_stranger_stores_nothing(self, superlink, supernode):
        message, _ = self.received(superlink, supernode)
        before = len(supernode[2])
        with pytest.raises(AbortedError):
            self.push(superlink, supernode, "no token", message)
        assert len(supernode[2]) == before

    def test_a_reply_goes_on_to_the_superlink_with_its_small_objects(self, superlink, supernode):
        message, token = self.received(superlink, supernode)
        reply, wanted = self.push(superlink, supernode, token, message)
        for key in wanted:
            supernode[2].put(key, contents_of(reply)[key])
        sent, single = PushMessagesRequest(), []

        def send(_message, _tree, _runtime):
            bundled_calls.load(sent)
            return wanted

        start_client_internal._push_messages(
            state=supernode[1],
            object_store=supernode[2],
            send=send,
            push_object=lambda _run, key, _content: single.append(key),
        )
        assert attached(sent).keys() == contents_of(reply).keys() - wanted
        assert set(single) == wanted
