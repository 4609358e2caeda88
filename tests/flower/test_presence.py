"""One live process for each key: who may take its place, and how two that share a key are found out."""

import socket
from types import SimpleNamespace

import pytest

from oneflower.codes import RefusalCode
from oneflower.flower.join_refusals import (
    ALARM_EVERY_S,
    EVERY_S,
    MOST_SUBJECTS,
    Refusals,
    two_processes,
    unknown_key,
)
from oneflower.flower.peers import is_connected, network_of
from oneflower.flower.presence import RETURNS_WITHIN_S, SILENT_S, Presence

KEY, OLD, NEW = b"key", "ipv4:10.0.0.3:40001", "ipv4:10.0.0.3:40002"


@pytest.fixture
def world():
    made = SimpleNamespace(now=100.0, connected={OLD, NEW})
    made.presence = Presence(clock=lambda: made.now, connected=lambda peer: peer in made.connected)
    return made


class TestPresence:
    def test_a_process_whose_connection_is_closed_is_replaced_at_once(self, world):
        world.presence.took_over(KEY, OLD)
        world.connected.discard(OLD)
        assert world.presence.may_take_over(KEY, NEW)

    def test_a_live_process_keeps_its_key(self, world):
        world.presence.took_over(KEY, OLD)
        world.now += SILENT_S - 1
        assert not world.presence.may_take_over(KEY, NEW)

    def test_a_machine_without_power_is_replaced_once_it_is_silent(self, world):
        world.presence.took_over(KEY, OLD)
        world.presence.heard(KEY, OLD)
        world.now += SILENT_S
        assert world.presence.may_take_over(KEY, NEW)

    def test_a_key_that_was_not_heard_since_the_start_may_be_taken(self, world):
        assert world.presence.may_take_over(KEY, NEW)

    def test_a_live_process_that_speaks_after_another_was_refused_shows_a_copy(self, world):
        world.presence.took_over(KEY, OLD)
        assert not world.presence.heard(KEY, OLD)
        assert not world.presence.may_take_over(KEY, NEW)
        assert world.presence.heard(KEY, OLD)
        assert not world.presence.heard(KEY, OLD)

    def test_a_restart_that_was_refused_once_is_no_copy(self, world):
        """A machine lost power: its connection looks alive until the silence is long enough."""
        world.presence.took_over(KEY, OLD)
        assert not world.presence.may_take_over(KEY, NEW)
        world.now += SILENT_S
        assert world.presence.may_take_over(KEY, NEW)
        world.presence.took_over(KEY, NEW)
        assert not any(world.presence.heard(KEY, NEW) for _ in range(5))

    def test_a_process_that_activates_twice_over_its_connection_is_no_copy(self, world):
        world.presence.took_over(KEY, OLD)
        assert world.presence.may_take_over(KEY, OLD)
        world.presence.took_over(KEY, OLD)
        assert not any(world.presence.heard(KEY, OLD) for _ in range(3))

    def test_connections_that_break_are_no_copy(self, world):
        world.presence.took_over(KEY, OLD)
        assert not any(world.presence.heard(KEY, f"ipv4:10.0.0.3:{port}") for port in range(40000, 40020))

    def test_two_connections_that_speak_in_turns_show_a_copy(self, world):
        world.presence.took_over(KEY, OLD)
        shown = [world.presence.heard(KEY, peer) for peer in (NEW, OLD, NEW, OLD)]
        assert shown == [False, False, True, True]

    def test_a_late_call_over_the_connection_of_before_is_no_copy(self, world):
        world.presence.took_over(KEY, OLD)
        for _ in range(3):
            assert not any(world.presence.heard(KEY, peer) for peer in (NEW, OLD))
            world.presence.took_over(KEY, OLD)
            world.now += RETURNS_WITHIN_S


class TestPeers:
    def test_the_kernel_knows_whether_a_connection_is_there(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            client = socket.create_connection(server.getsockname())
            accepted, (host, port) = server.accept()
            assert is_connected(f"ipv4:{host}:{port}")
            client.close()
            assert not is_connected(f"ipv4:{host}:{port}")
            accepted.close()
            assert not is_connected(f"ipv4:{host}:{port}")

    @pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6 here")
    def test_an_ipv4_client_of_an_ipv6_socket_is_found(self):
        with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
            port = server.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port)) as client:
                assert is_connected(f"ipv4:127.0.0.1:{client.getsockname()[1]}")
            with socket.create_connection(("::1", port)) as client:
                name = client.getsockname()
                assert is_connected(f"ipv6:[::1]:{name[1]}")
                assert is_connected(f"ipv6:%5B::1%5D:{name[1]}")
            assert not is_connected(f"ipv6:[::1]:{name[1]}")

    @pytest.mark.parametrize("peer", ["unix:", "unknown", "ipv4:1.2.3.4.5:6", "ipv4:host:1"])
    def test_what_cannot_be_known_counts_as_connected(self, peer):
        assert is_connected(peer)

    def test_without_the_kernels_tables_it_counts_as_connected(self, tmp_path):
        assert is_connected(OLD, tmp_path)


class TestNetworks:
    @pytest.mark.parametrize(
        ("peer", "network"),
        [
            ("ipv4:10.0.0.3:40001", "10.0.0.3/32"),
            ("ipv6:%5B::ffff:10.0.0.3%5D:5", "10.0.0.3/32"),
            ("ipv6:[2001:db8:1:2:3:4:5:6]:5", "2001:db8:1:2::/64"),
            ("ipv6:[2001:db8:1:2:ffff::1]:7", "2001:db8:1:2::/64"),
            ("unix:/tmp/x:1", "unix:/tmp/x"),
        ],
    )
    def test_addresses_that_one_caller_can_take_are_one_network(self, peer, network):
        assert network_of(peer) == network


class TestRefusals:
    @pytest.fixture
    def told(self):
        made = SimpleNamespace(now=0.0, events=[])
        made.refusals = Refusals(made.events.append, clock=lambda: made.now)
        return made

    def test_thousands_of_strangers_are_two_events(self, told):
        for number in range(5000):
            told.refusals.refuse(unknown_key(str(number).encode(), f"ipv4:10.0.0.9:{number}"))
            told.refusals.tick()
        told.now = EVERY_S
        told.refusals.tick()
        assert [event.count for event in told.events] == [1, 4999]
        assert {event.code for event in told.events} == {RefusalCode.UNKNOWN_KEY}

    def test_a_name_of_a_caller_is_cut(self, told):
        told.refusals.refuse(unknown_key(b"k" * 10**6, "x" * 10**6))
        (event,) = told.events
        assert len(event.reason) + len(event.key) < 200

    def test_an_alarm_is_told_for_each_key(self, told):
        for key in (b"a", b"b", b"a"):
            told.refusals.refuse(two_processes(key))
        assert len(told.events) == 2
        told.now = ALARM_EVERY_S
        told.refusals.tick()
        assert len(told.events) == 3

    def test_the_thousandth_alarm_does_not_silence_those_that_follow(self, told):
        for number in range(3 * MOST_SUBJECTS):
            told.refusals.refuse(two_processes(str(number).encode()))
        assert len(told.events) == MOST_SUBJECTS + 1
        told.now = ALARM_EVERY_S
        told.refusals.tick()
        assert sum(event.count for event in told.events) == 3 * MOST_SUBJECTS
        told.refusals.refuse(two_processes(b"new"))
        assert told.events[-1].key == two_processes(b"new").key
        assert len(told.events) == MOST_SUBJECTS + 3
