"""What a SuperNode may send: a reply is compared with its message first, and its objects are counted."""

import hashlib
import sqlite3
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import ArrayRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from flwr.common.inflatable import get_all_nested_objects, get_object_tree, no_object_id_recompute
from flwr.common.serde import message_to_proto
from flwr.proto.fab_pb2 import GetFabRequest
from flwr.proto.fleet_pb2 import (
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ObjectTree,
    PullObjectRequest,
    PushObjectRequest,
)
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest
from flwr.server.superlink.serverappio.serverappio_servicer import ServerAppIoServicer
from flwr.supercore.ffs import FfsFactory

from oneflower.flower.v1_25 import fleet_limits, reply_gate
from oneflower.flower.v1_25.fleet_ledger import TAKEN_WITHIN_S, Ledger, Upload
from oneflower.flower.v1_25.fleet_limits import MAX_REASON, MB, Limits
from oneflower.flower.v1_25.refusals import Refusals
from oneflower.flower.v1_25.reply_gate import SWEEP_S, ReplyGate
from oneflower.flower.v1_25.workarounds import reply_limits
from oneflower.flower.v1_25.workarounds.delivery import RECALL

from .conftest import AbortedError, Call, SuperLink

IN_MEMORY = ":flwr-in-memory:"


class Fleet:
    """A SuperNode's calls, made straight at the servicer."""

    def __init__(self, superlink, node_id=None):
        self.superlink = superlink
        self.node = Node(node_id=node_id or superlink.node_id)
        self.servicer = superlink.fleet()

    def pull(self):
        return self.servicer.PullMessages(PullMessagesRequest(node=self.node), Call())

    def pull_object(self, object_id):
        request = PullObjectRequest(node=self.node, run_id=self.superlink.run_id, object_id=object_id)
        return self.servicer.PullObject(request, Call())

    def confirm(self, message_id):
        request = ConfirmMessageReceivedRequest(
            node=self.node, run_id=self.superlink.run_id, message_object_id=message_id
        )
        return self.servicer.ConfirmMessageReceived(request, Call())

    def receive(self):
        """Pull a message with all its objects, as a SuperNode does."""
        response = self.pull()
        tree = response.message_object_trees[0]
        for object_id in fleet_limits.ids_of(tree, 10_000):
            self.pull_object(object_id)
        self.confirm(tree.object_id)

    def push(self, reply, *, tree=None, **metadata):
        wire = message_to_proto(reply)
        if reply.has_content():
            wire.content.Clear()
            wire.content.SetInParent()
        for name, value in metadata.items():
            setattr(wire.metadata, name, value)
        tree = tree or get_object_tree(reply)
        request = PushMessagesRequest(node=self.node, messages_list=[wire], message_object_trees=[tree])
        return self.servicer.PushMessages(request, Call())

    def push_object(self, object_id, content):
        request = PushObjectRequest(
            node=self.node, run_id=self.superlink.run_id, object_id=object_id, object_content=content
        )
        return self.servicer.PushObject(request, Call())

    def push_all(self, reply):
        wanted = self.push(reply).objects_to_push
        for object_id, part in get_all_nested_objects(reply).items():
            if object_id in wanted:
                self.push_object(object_id, part.deflate())


@pytest.fixture(params=["database", "memory"])
def superlink(request, tmp_path):
    return SuperLink(tmp_path / "state.db" if request.param == "database" else IN_MEMORY)


@pytest.fixture
def fleet(superlink, apply):
    apply(reply_limits.WORKAROUND)
    return Fleet(superlink)


@pytest.fixture
def asked(superlink, fleet):
    """A message that the node has received."""
    message = superlink.message()
    superlink.push(message)
    fleet.receive()
    return message


def reply_with(asked, size=100, seed=0):
    """Return a reply with an array of about so many bytes that no other reply has."""
    data = np.random.default_rng(seed).integers(0, 255, size, dtype=np.uint8)
    content = RecordDict({"arrays": ArrayRecord([data]), "metrics": MetricRecord({"num-examples": 1})})
    return finished(Message(content, reply_to=asked))


def failed(asked, reason):
    return finished(Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=asked))


def finished(reply):
    with no_object_id_recompute():
        reply.metadata.__dict__["_message_id"] = reply.object_id
    return reply


def objects(superlink):
    return len(superlink.objects.store())


def answers(superlink, message):
    return superlink.states.state().get_message_res({message.metadata.message_id})


def chunk(size, seed=0):
    body = np.random.default_rng(seed).bytes(size)
    content = f"ArrayChunk  {size}".encode() + b"\x00" + body
    return hashlib.sha256(content).hexdigest(), content


class TestRefusedReply:
    def test_flower_keeps_the_objects_of_a_reply_to_no_message(self, superlink):
        message = superlink.message()
        superlink.push(message)
        fleet = Fleet(superlink)
        before = objects(superlink)
        fleet.push(reply_with(message), reply_to_message_id="ab" * 32)
        assert objects(superlink) > before

    @pytest.mark.parametrize(
        "metadata",
        [
            {"reply_to_message_id": "ab" * 32},
            {"reply_to_message_id": "no hash\n"},
            {"src_node_id": 7},
            {"message_id": "cd" * 32},
            {"run_id": 7},
            {"ttl": 1e9},
        ],
        ids=lambda each: next(iter(each)),
    )
    def test_it_leaves_nothing(self, superlink, fleet, asked, metadata):
        before = objects(superlink)
        with pytest.raises(AbortedError):
            fleet.push(reply_with(asked), **metadata)
        assert objects(superlink) == before

    def test_a_reply_to_another_nodes_message_is_refused(self, superlink, fleet, asked):
        other = Fleet(superlink, superlink.add_node(b"other"))
        with pytest.raises(AbortedError):
            other.push(reply_with(asked), src_node_id=other.node.node_id)

    def test_a_reply_in_another_nodes_name_is_refused(self, superlink, fleet, asked):
        other = Fleet(superlink, superlink.add_node(b"other"))
        with pytest.raises(AbortedError):
            other.push(reply_with(asked))

    def test_a_second_reply_is_refused(self, superlink, fleet, asked):
        fleet.push_all(reply_with(asked, seed=1))
        before = objects(superlink)
        with pytest.raises(AbortedError, match="answered before"):
            fleet.push(reply_with(asked, seed=2))
        assert objects(superlink) == before
        assert len(answers(superlink, asked)) == 1

    @pytest.mark.parametrize("replies", [0, 2, 500])
    def test_one_request_has_one_reply(self, superlink, fleet, asked, replies):
        reply = reply_with(asked)
        request = PushMessagesRequest(
            node=fleet.node,
            messages_list=[message_to_proto(reply)] * replies,
            message_object_trees=[get_object_tree(reply)] * replies,
        )
        with pytest.raises(AbortedError, match="expected one"):
            fleet.servicer.PushMessages(request, Call())

    def test_the_type_of_the_message_counts_not_that_of_the_reply(self, superlink, fleet, asked):
        fleet.push(reply_with(asked), message_type="evaluate", group_id="7")
        (reply,) = answers(superlink, asked)
        assert (reply.metadata.message_type, reply.metadata.group_id) == ("train", asked.metadata.group_id)

    @pytest.mark.parametrize("error", [False, True])
    def test_a_reply_for_a_run_that_has_ended_is_refused_as_flower_does(self, superlink, fleet, asked, error):
        superlink.finish()
        before = objects(superlink)
        with pytest.raises(AbortedError, match="Run is finished"):
            fleet.push(failed(asked, "late") if error else reply_with(asked))
        assert objects(superlink) == before


class TestTree:
    def test_more_ids_than_the_message_allows_are_refused(self, superlink, fleet, asked):
        before = objects(superlink)
        reply = reply_with(asked)
        ids = [ObjectTree(object_id=f"{number:064x}") for number in range(30_000)]
        with pytest.raises(AbortedError, match="more than"):
            fleet.push(reply, tree=ObjectTree(object_id=reply.metadata.message_id, children=ids))
        assert objects(superlink) == before

    def test_a_deep_tree_is_refused(self, superlink, fleet, asked):
        tree = ObjectTree(object_id="0" * 64)
        for number in range(1, 40):
            tree = ObjectTree(object_id=f"{number:064x}", children=[tree])
        reply = reply_with(asked)
        with pytest.raises(AbortedError, match="nested"):
            fleet.push(reply, tree=ObjectTree(object_id=reply.metadata.message_id, children=[tree]))

    def test_a_child_that_is_named_twice_is_refused(self, superlink, fleet, asked):
        """Flower stored its brothers, and then failed."""
        reply = reply_with(asked)
        tree = get_object_tree(reply)
        for number in range(20):
            tree.children.add(object_id=hashlib.sha256(bytes([number])).hexdigest())
        tree.children.add().CopyFrom(tree.children[0])
        before = objects(superlink)
        with pytest.raises(AbortedError, match="names a child twice"):
            fleet.push(reply, tree=tree)
        assert objects(superlink) == before

    @pytest.mark.parametrize("bad", ["", "0x" + "a" * 62, "A" * 64, "g" * 64, " " * 64, "a" * 65])
    def test_an_id_that_is_no_hash_is_refused(self, superlink, fleet, asked, bad):
        before = objects(superlink)
        reply = reply_with(asked)
        tree = ObjectTree(object_id=reply.metadata.message_id, children=[ObjectTree(object_id=bad)])
        with pytest.raises(AbortedError, match="SHA-256"):
            fleet.push(reply, tree=tree)
        assert objects(superlink) == before


class TestObjects:
    def test_an_object_of_no_reply_is_refused(self, superlink, fleet, asked):
        object_id, content = chunk(1_000)
        with pytest.raises(AbortedError, match="no reply"):
            fleet.push_object(object_id, content)

    def test_an_object_of_another_nodes_reply_is_refused(self, superlink, fleet, asked):
        reply = reply_with(asked)
        fleet.push(reply)
        other = Fleet(superlink, superlink.add_node(b"other"))
        with pytest.raises(AbortedError, match="no reply"):
            other.push_object(reply.metadata.message_id, reply.deflate())

    def test_an_honest_reply_arrives(self, superlink, fleet, asked):
        fleet.push_all(reply_with(asked))
        (reply,) = answers(superlink, asked)
        assert not reply.has_error()
        assert all(
            superlink.objects.store().get(object_id)
            for object_id in fleet_limits.ids_of(
                superlink.objects.store().get_object_tree(reply.metadata.message_id), 100
            )
        )

    def test_a_request_whose_answer_was_lost_may_be_repeated(self, superlink, fleet, asked):
        """A SuperNode repeats a call when the connection breaks: its reply must not be lost for that."""
        reply = reply_with(asked)
        first = fleet.push(reply)
        again = fleet.push(reply)
        assert set(again.objects_to_push) == set(first.objects_to_push)
        for _ in range(2):
            for object_id, part in get_all_nested_objects(reply).items():
                assert fleet.push_object(object_id, part.deflate()).stored

    def test_a_reply_above_the_limit_is_dropped_and_answered(self, superlink, apply, monkeypatch):
        apply(reply_limits.within(Limits(max_update_bytes=MB)))
        fleet, message = Fleet(superlink), superlink.message()
        superlink.push(message)
        fleet.receive()
        before = objects(superlink)
        reply = reply_with(message, size=2 * MB)
        with pytest.raises(AbortedError, match="FL_MAX_UPDATE_MB"):
            fleet.push_all(reply)
        (answer,) = answers(superlink, message)
        assert answer.error.code == ErrorCode.REPLY_MESSAGE_UNAVAILABLE
        assert "FL_MAX_UPDATE_MB" in answer.error.reason
        assert objects(superlink) == before + 1

    def test_the_head_of_a_reply_is_small(self, superlink, fleet, asked):
        body = bytes(100_000)
        content = f"Message  {len(body)}".encode() + b"\x00" + body
        head = hashlib.sha256(content).hexdigest()
        reply = reply_with(asked)
        fleet.push(reply, tree=ObjectTree(object_id=head), message_id=head)
        with pytest.raises(AbortedError, match="head"):
            fleet.push_object(head, content)

    def test_what_a_node_has_not_sent_when_it_asks_for_more_is_dropped(self, superlink, fleet, asked, apply):
        apply(RECALL)
        before = objects(superlink)
        fleet.push(reply_with(asked))
        assert objects(superlink) > before
        fleet.pull()
        assert objects(superlink) <= before + 1  # with the database an error reply, of one object

    def test_what_a_node_has_not_sent_when_it_leaves_is_dropped(self, superlink, fleet, asked):
        before = objects(superlink)
        fleet.push(reply_with(asked))
        fleet.servicer.DeactivateNode(DeactivateNodeRequest(node_id=superlink.node_id), Call())
        assert objects(superlink) == before
        with pytest.raises(AbortedError, match="no reply"):
            fleet.push_object(*chunk(10))

    def test_a_complete_reply_of_a_node_that_leaves_stays(self, superlink, fleet, asked):
        """A ServerApp may be pulling its objects just then."""
        fleet.push_all(reply_with(asked))
        before = objects(superlink)
        fleet.servicer.DeactivateNode(DeactivateNodeRequest(node_id=superlink.node_id), Call())
        assert objects(superlink) == before

    def test_a_reply_that_the_serverapp_took_is_off_the_account(self, superlink, fleet, asked, tmp_path):
        reply = reply_with(asked)
        fleet.push_all(reply)
        ffs = FfsFactory(str(tmp_path / "ffs"))
        servicer = ServerAppIoServicer(superlink.states, ffs, superlink.objects)
        request = ConfirmMessageReceivedRequest(
            run_id=superlink.run_id, message_object_id=reply.metadata.message_id
        )
        servicer.ConfirmMessageReceived(request, Call())
        with pytest.raises(AbortedError, match="no reply"):
            fleet.push_object(reply.metadata.message_id, reply.deflate())


class TestSweep:
    """Replies that nobody will take are dropped with their objects, at the latest when another one comes."""

    @pytest.fixture
    def gate(self, superlink, fleet, monkeypatch):
        """The gate of a fleet whose clocks a test sets."""
        ledger, clock = Ledger(Limits()), SimpleNamespace(now=0.0)
        return SimpleNamespace(
            ledger=ledger,
            clock=clock,
            replies=ReplyGate(ledger, Refusals(), clock=lambda: clock.now),
            servicer=fleet.servicer,
        )

    def upload(self, superlink, asked, gate, *, missing=()):
        reply = reply_with(asked)
        with no_object_id_recompute():
            superlink.objects.store().preregister(superlink.run_id, get_object_tree(reply))
        superlink.states.state().store_message_res(reply)
        gate.ledger.accept(
            Upload(
                node_id=superlink.node_id,
                run_id=superlink.run_id,
                message_id=asked.metadata.message_id,
                reply_id=reply.metadata.message_id,
                expires=asked.metadata.created_at + asked.metadata.ttl,
                ids=frozenset(missing),
                missing=set(missing),
            )
        )

    def sweep(self, gate):
        gate.clock.now += SWEEP_S + 1
        gate.replies.sweep(gate.servicer)

    def test_one_under_way_stays(self, superlink, asked, gate):
        self.upload(superlink, asked, gate, missing=["a" * 64])
        before = objects(superlink)
        self.sweep(gate)
        assert objects(superlink) == before

    def test_one_whose_node_is_away_is_dropped(self, superlink, asked, gate):
        before = objects(superlink)
        self.upload(superlink, asked, gate, missing=["a" * 64])
        superlink.states.state().deactivate_node(superlink.node_id)
        self.sweep(gate)
        assert objects(superlink) == before
        assert gate.ledger.uploads() == []

    def test_a_complete_one_whose_message_is_gone_is_dropped_later(self, superlink, asked, gate, monkeypatch):
        before = objects(superlink)
        self.upload(superlink, asked, gate)
        superlink.states.state().delete_messages({asked.metadata.message_id})
        self.sweep(gate)
        assert objects(superlink) > before
        later = datetime.now(UTC) + timedelta(seconds=TAKEN_WITHIN_S + 1)
        monkeypatch.setattr(reply_gate, "now", lambda: later)
        self.sweep(gate)
        assert objects(superlink) == before


class TestErrorReply:
    def test_the_superlink_writes_its_object_and_cuts_its_reason(self, superlink, fleet, asked):
        response = fleet.push(failed(asked, "A" * 20_000_000))
        assert list(response.objects_to_push) == []
        (reply,) = answers(superlink, asked)
        assert reply.error.reason.startswith("AAAA")
        assert len(reply.error.reason) < MAX_REASON + 100
        assert len(superlink.objects.store().get(reply.metadata.message_id)) < 2 * MAX_REASON

    def test_its_reason_is_one_printable_line(self, superlink, fleet, asked):
        fleet.push(failed(asked, "\x1b[2J\x1b]0;owned\x07\nINFO : round completed\r\u202e"))
        (reply,) = answers(superlink, asked)
        assert reply.error.reason.isprintable()
        assert "\\nINFO" in reply.error.reason

    def test_its_code_and_an_ordinary_reason_stay(self, superlink, fleet, asked):
        fleet.push(failed(asked, "no such file: Ä/data"))
        (reply,) = answers(superlink, asked)
        assert (reply.error.code, reply.error.reason) == (
            ErrorCode.CLIENT_APP_RAISED_EXCEPTION,
            "no such file: Ä/data",
        )


class TestMessages:
    def test_an_object_of_no_message_for_the_node_is_not_given(self, superlink, fleet):
        message = superlink.message()
        superlink.push(message)
        with pytest.raises(AbortedError):
            fleet.pull_object(message.metadata.message_id)

    def test_a_message_is_confirmed_by_its_receiver(self, superlink, fleet, asked):
        other = Fleet(superlink, superlink.add_node(b"other"))
        with pytest.raises(AbortedError):
            other.confirm(asked.metadata.message_id)

    def test_a_node_without_a_message_learns_nothing_of_the_run(self, superlink, fleet):
        with pytest.raises(AbortedError):
            fleet.servicer.GetRun(GetRunRequest(node=fleet.node, run_id=superlink.run_id), Call())
        request = GetFabRequest(node=fleet.node, run_id=superlink.run_id, hash_str="a" * 64)
        with pytest.raises(AbortedError):
            fleet.servicer.GetFab(request, Call())

    def test_a_node_with_one_does(self, superlink, fleet, asked):
        request = GetRunRequest(node=fleet.node, run_id=superlink.run_id)
        assert fleet.servicer.GetRun(request, Call()).run.run_id == superlink.run_id

    def test_a_call_about_a_run_that_does_not_exist_is_refused(self, superlink, fleet, asked):
        """Flower answers with a traceback in the log."""
        with pytest.raises(AbortedError):
            fleet.servicer.GetRun(GetRunRequest(node=fleet.node, run_id=7), Call())
        request = PushObjectRequest(node=fleet.node, run_id=7, object_id="a" * 64, object_content=b"x")
        with pytest.raises(AbortedError):
            fleet.servicer.PushObject(request, Call())


def test_two_replies_to_one_message_end_the_run_in_flower(tmp_path):
    superlink = SuperLink(tmp_path / "state.db")
    message = superlink.message()
    superlink.push(message)
    for seed in (1, 2):
        superlink.push(reply_with(message, seed=seed))
    count = "SELECT count(*) FROM message_res"
    assert sqlite3.connect(superlink.database).execute(count).fetchone() == (2,)
