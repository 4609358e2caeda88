"""The list of keys is the only truth about who may join, with or without the database of before."""

from types import SimpleNamespace

import grpc
import pytest
from flwr.common.constant import NOOP_FLWR_AID, PUBLIC_KEY_HEADER
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest, RegisterNodeFleetRequest
from flwr.proto.node_pb2 import Node
from flwr.server.superlink.fleet.grpc_rere.node_auth_server_interceptor import NodeAuthServerInterceptor
from flwr.server.superlink.linkstate import LinkStateFactory
from flwr.supercore.constant import NodeStatus
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.superlink.federation import NoOpFederationManager

from oneflower.codes import RefusalCode
from oneflower.flower.join_refusals import Refusals
from oneflower.flower.members import Members
from oneflower.flower.presence import SILENT_S, Presence
from oneflower.flower.v1_25 import membership
from oneflower.flower.v1_25.workarounds import takeover
from oneflower.node_keys import Pins
from oneflower.tls import make_node_key

KEYS = [make_node_key()[1] for _ in range(3)]


class AbortedError(Exception):
    """What a context raises that ends a call."""


class Context:
    def __init__(self, peer):
        self._peer = peer

    def peer(self):
        return self._peer

    def abort(self, code, details):
        raise AbortedError(code, details)


class SuperLink:
    """The authentication of a SuperLink with its database, with calls whose signature is right."""

    def __init__(self, database, monkeypatch):
        self.database, self.patch, self.events = database, monkeypatch.setattr, []
        self.start()

    def start(self):
        objects = ObjectStoreFactory(str(self.database))
        self.states = LinkStateFactory(str(self.database), NoOpFederationManager(), objects)
        self.interceptor = NodeAuthServerInterceptor(self.states)

    def admit(self, given=(), file=None):
        refusals = Refusals(self.events.append)
        members = Members(given, file, refuse=refusals.refuse)
        membership.admit_members(members, refusals, self.patch)
        return self

    def call(self, key, request, peer="ipv4:10.0.0.3:40001"):
        from flwr.server.superlink.fleet.message_handler import message_handler

        def handle(request, _context):
            if isinstance(request, ActivateNodeRequest):
                try:
                    return message_handler.activate_node(request, self.states.state()).node_id
                except ValueError as error:
                    raise AbortedError(grpc.StatusCode.FAILED_PRECONDITION, str(error)) from None
            return "done"

        handler = grpc.unary_unary_rpc_method_handler(handle)
        return self.interceptor._wrap_method_handler(handler, key.pem).unary_unary(request, Context(peer))

    def activate(self, key, peer="ipv4:10.0.0.3:40001"):
        return self.call(key, ActivateNodeRequest(public_key=key.pem, heartbeat_interval=30), peer)

    def pull(self, key, node_id, peer="ipv4:10.0.0.3:40001"):
        return self.call(key, PullMessagesRequest(node=Node(node_id=node_id)), peer)

    def nodes(self, *statuses):
        return self.states.state().get_node_info(statuses=statuses or None)


@pytest.fixture
def superlink(tmp_path, monkeypatch):
    return SuperLink(tmp_path / "state.db", monkeypatch)


@pytest.fixture
def pins(tmp_path):
    file = tmp_path / "node-keys.json"

    def write(*keys, **changed):
        found = Pins(
            keys={11 + KEYS.index(key): key for key in keys},
            changed={int(vm[2:]): mark for vm, mark in changed.items()},
        )
        other = file.with_suffix(".new")
        other.write_text(found.text())
        other.replace(file)
        return file

    return write


class TestMembership:
    def test_a_stranger_is_refused_with_what_to_do(self, superlink):
        superlink.admit(KEYS[:1])
        for request in (
            RegisterNodeFleetRequest(public_key=KEYS[1].pem),
            ActivateNodeRequest(public_key=KEYS[1].pem, heartbeat_interval=30),
        ):
            with pytest.raises(AbortedError) as caught:
                superlink.call(KEYS[1], request)
            assert caught.value.args[0] == grpc.StatusCode.FAILED_PRECONDITION
            assert "SuperNode authentication is enabled" in caught.value.args[1]
            assert "FL_NODE_KEYS" in caught.value.args[1]
        assert [event.code for event in superlink.events] == [RefusalCode.UNKNOWN_KEY]
        assert {node.public_key for node in superlink.nodes()} == {KEYS[0].pem}

    def test_a_known_key_joins_without_having_been_registered(self, superlink):
        superlink.admit(KEYS[:2])
        node_id = superlink.activate(KEYS[0])
        assert superlink.pull(KEYS[0], node_id) == "done"
        assert [node.public_key for node in superlink.nodes(NodeStatus.ONLINE)] == [KEYS[0].pem]
        assert {node.public_key for node in superlink.nodes()} == {key.pem for key in KEYS[:2]}

    def test_a_key_that_comes_later_joins_at_once(self, superlink, pins):
        superlink.admit(file=pins(KEYS[0]))
        superlink.activate(KEYS[0])
        with pytest.raises(AbortedError):
            superlink.activate(KEYS[1])
        pins(KEYS[0], KEYS[1])
        superlink.activate(KEYS[1])

    def test_a_key_that_is_gone_is_unregistered_with_the_next_call_of_anybody(self, superlink, pins):
        superlink.admit(file=pins(*KEYS[:2]))
        first, gone = superlink.activate(KEYS[0]), superlink.activate(KEYS[1])
        pins(KEYS[0])
        superlink.pull(KEYS[0], first)
        assert [node.node_id for node in superlink.nodes(NodeStatus.UNREGISTERED)] == [gone]
        with pytest.raises(AbortedError):
            superlink.activate(KEYS[1])

    def test_a_key_that_returns_is_taken_again(self, superlink, pins):
        superlink.admit(file=pins(KEYS[0]))
        node_id = superlink.activate(KEYS[0])
        pins()
        with pytest.raises(AbortedError):
            superlink.activate(KEYS[0])
        pins(KEYS[0])
        assert superlink.activate(KEYS[0]) == node_id

    @pytest.mark.parametrize("keeps_database", [True, False])
    def test_the_keys_are_known_after_a_restart(self, superlink, pins, keeps_database):
        file = pins(KEYS[0])
        superlink.admit(file=file)
        superlink.activate(KEYS[0])
        superlink.states.state().deactivate_node(superlink.nodes()[0].node_id)
        if not keeps_database:
            superlink.database = superlink.database.with_name("other.db")
        superlink.start()
        superlink.activate(KEYS[0])
        assert len(superlink.nodes(NodeStatus.ONLINE)) == 1

    def test_a_key_that_the_operator_registered_stays(self, superlink, pins):
        state = superlink.states.state()
        state.create_node(NOOP_FLWR_AID, "somebody", KEYS[2].pem, 30)
        superlink.admit(file=pins(KEYS[0]))
        superlink.activate(KEYS[2])
        pins()
        superlink.pull(KEYS[2], superlink.nodes(NodeStatus.ONLINE)[0].node_id)
        assert len(superlink.nodes(NodeStatus.ONLINE)) == 1

    @pytest.mark.parametrize("text", ["", "{", "rubbish"])
    def test_a_damaged_file_changes_nothing(self, superlink, pins, text):
        file = pins(KEYS[0])
        superlink.admit(file=file)
        node_id = superlink.activate(KEYS[0])
        file.write_text(text)
        assert superlink.pull(KEYS[0], node_id) == "done"
        assert len(superlink.nodes(NodeStatus.ONLINE)) == 1

    def test_another_key_of_a_known_vm_is_an_alarm_and_not_a_member(self, superlink, pins):
        superlink.admit(file=pins(KEYS[0]))
        node_id = superlink.activate(KEYS[0])
        pins(KEYS[0], vm11="abcdef")
        superlink.pull(KEYS[0], node_id)
        (event,) = superlink.events
        assert (event.code, event.vm, event.key) == (RefusalCode.KEY_CHANGED, "11", "abcdef")
        with pytest.raises(AbortedError):
            superlink.activate(KEYS[1])


class TestHeaders:
    """What is known of a call before a thread waits for its request."""

    @pytest.fixture
    def handle(self, superlink, pins):
        superlink.admit(file=pins(KEYS[0]))

        def handle(*headers):
            details = SimpleNamespace(method="/flwr.proto.Fleet/PullMessages", invocation_metadata=headers)
            return superlink.interceptor.intercept_service(lambda _: pytest.fail("it was heard"), details)

        return handle

    def test_a_stranger_is_refused_without_its_request_or_signature(self, superlink, handle):
        handler = handle((PUBLIC_KEY_HEADER, KEYS[1].pem))
        with pytest.raises(AbortedError) as caught:
            handler.stream_unary(None, Context("ipv4:10.0.0.9:1"))
        assert caught.value.args[0] == grpc.StatusCode.FAILED_PRECONDITION
        assert [event.code for event in superlink.events] == [RefusalCode.UNKNOWN_KEY]

    def test_strangers_open_no_database(self, superlink, handle, monkeypatch):
        """Beyond 48 threads each would take files, which the SuperLink then lacks for its own calls."""
        superlink.activate(KEYS[0])  # brings the list into step
        handlers = [handle((PUBLIC_KEY_HEADER, KEYS[1].pem)) for _ in range(3)]
        monkeypatch.setattr(superlink.states, "state", lambda: pytest.fail("the database was opened"))
        for handler in handlers:
            with pytest.raises(AbortedError):
                handler.stream_unary(None, Context("ipv4:10.0.0.9:1"))

    def test_a_known_key_alone_is_not_enough(self, handle):
        for headers in ([], [(PUBLIC_KEY_HEADER, KEYS[0].pem)], [(PUBLIC_KEY_HEADER, "text")]):
            with pytest.raises(AbortedError) as caught:
                handle(*headers).unary_unary(None, Context("ipv4:10.0.0.9:1"))
            assert caught.value.args[0] == grpc.StatusCode.UNAUTHENTICATED

    def test_a_member_that_is_gone_is_unregistered_when_a_stranger_calls(self, superlink, handle, pins):
        superlink.activate(KEYS[0])
        pins()
        handler = handle((PUBLIC_KEY_HEADER, KEYS[1].pem))
        with pytest.raises(AbortedError):
            handler.stream_unary(None, Context("ipv4:10.0.0.9:1"))
        assert len(superlink.nodes(NodeStatus.UNREGISTERED)) == 1


class TestTakeover:
    @pytest.fixture
    def world(self, superlink):
        made = SimpleNamespace(now=0.0, connected=set(), events=[], superlink=superlink)
        presence = Presence(clock=lambda: made.now, connected=lambda peer: peer in made.connected)
        made.apply = lambda: takeover.take_over(superlink.patch, presence, made.events.append)
        return made

    def test_flower_refuses_a_restarted_node_until_its_lease_ends(self, superlink):
        superlink.admit(KEYS[:1])
        superlink.activate(KEYS[0])
        with pytest.raises(AbortedError, match="could not be activated"):
            superlink.activate(KEYS[0], "ipv4:10.0.0.3:40002")

    def test_a_node_whose_process_is_gone_is_taken_at_once(self, superlink, world):
        world.apply()
        superlink.admit(KEYS[:1])
        node_id = superlink.activate(KEYS[0])
        assert superlink.activate(KEYS[0], "ipv4:10.0.0.3:40002") == node_id
        assert world.events == []

    def test_a_copied_key_is_refused_while_its_owner_lives(self, superlink, world):
        world.apply()
        superlink.admit(KEYS[:1])
        owner = "ipv4:10.0.0.3:40001"
        world.connected.add(owner)
        node_id = superlink.activate(KEYS[0], owner)
        with pytest.raises(AbortedError, match="in use by a process"):
            superlink.activate(KEYS[0], "ipv4:10.9.9.9:5")
        assert superlink.pull(KEYS[0], node_id, owner) == "done"
        (event,) = world.events
        assert (event.code, event.key) == (RefusalCode.KEY_IN_USE, KEYS[0].fingerprint)
        world.now += SILENT_S
        superlink.activate(KEYS[0], "ipv4:10.9.9.9:5")

    def test_two_processes_that_speak_in_turns_are_reported(self, superlink, world):
        world.apply()
        superlink.admit(KEYS[:1])
        node_id = superlink.activate(KEYS[0])
        for peer in ("ipv4:10.9.9.9:5", "ipv4:10.0.0.3:40001") * 2:
            superlink.pull(KEYS[0], node_id, peer)
        assert {event.code for event in world.events} == {RefusalCode.KEY_IN_USE}

    def test_a_process_that_activates_twice_over_its_connection_raises_no_alarm(self, superlink, world):
        world.apply()
        superlink.admit(KEYS[:1])
        owner = "ipv4:10.0.0.3:40001"
        world.connected.add(owner)
        node_id = superlink.activate(KEYS[0], owner)
        assert superlink.activate(KEYS[0], owner) == node_id
        assert superlink.pull(KEYS[0], node_id, owner) == "done"
        assert world.events == []

    def test_where_anybody_makes_keys_none_is_an_alarm(self, superlink, monkeypatch, tmp_path):
        events = []
        monkeypatch.setattr(takeover, "of_this_process", lambda: SimpleNamespace(refuse=events.append))
        takeover.reporting(copies=False).apply(superlink.patch)
        node_id = superlink.states.state().create_node("aid", "name", KEYS[0].pem, 30)
        superlink.activate(KEYS[0])
        for peer in ("ipv4:10.9.9.9:5", "ipv4:10.0.0.3:40001") * 4:
            superlink.pull(KEYS[0], node_id, peer)
        assert events == []


class TestCallers:
    @pytest.fixture
    def callers(self):
        made = SimpleNamespace(now=0.0)
        made.callers = membership.Callers(Members(KEYS[:1]), clock=lambda: made.now)
        return made

    def test_the_list_is_known_without_the_database(self, callers):
        assert callers.callers.knows(None, KEYS[0].pem)

    def test_a_key_in_the_database_is_known_and_no_other(self, superlink, callers):
        superlink.states.state().create_node(NOOP_FLWR_AID, "somebody", KEYS[2].pem, 30)
        assert callers.callers.knows(superlink.states, KEYS[2].pem)
        assert not callers.callers.knows(superlink.states, KEYS[1].pem)

    def test_strangers_have_the_database_read_now_and_then(self, superlink, callers):
        assert not callers.callers.knows(superlink.states, KEYS[1].pem)
        superlink.states.state().create_node(NOOP_FLWR_AID, "somebody", KEYS[2].pem, 30)
        assert not callers.callers.knows(superlink.states, KEYS[2].pem)
        callers.now += membership.READ_EVERY_S
        assert callers.callers.knows(superlink.states, KEYS[2].pem)

    def test_a_key_that_was_written_to_the_list_is_known_at_once(self, superlink, pins):
        callers = membership.Callers(Members((), pins()))
        assert not callers.knows(superlink.states, KEYS[0].pem)
        pins(KEYS[0])
        assert callers.knows(superlink.states, KEYS[0].pem)
