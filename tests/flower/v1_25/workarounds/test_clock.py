"""A wall clock that is set back or forward by a day does no harm to leases, tokens and signatures."""

import datetime as dt
from types import SimpleNamespace

import pytest
from flwr.common import date
from flwr.common.constant import PUBLIC_KEY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER
from flwr.server.superlink.fleet.grpc_rere.node_auth_server_interceptor import NodeAuthServerInterceptor
from flwr.supercore.corestate.in_memory_corestate import InMemoryCoreState
from flwr.supercore.primitives.asymmetric import generate_key_pairs, public_key_to_bytes, sign_message

from oneflower.flower.v1_25.workarounds import clock

DAY_S = 86400.0


@pytest.fixture
def wall(monkeypatch):
    """Return a wall clock that a test can set; Flower reads it as it reads the real one."""
    clock = SimpleNamespace(shift_s=0.0)

    class Shifted(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return dt.datetime.now(tz) + dt.timedelta(seconds=clock.shift_s)

    fake = SimpleNamespace(datetime=Shifted, timezone=dt.timezone, timedelta=dt.timedelta)
    monkeypatch.setattr(date, "datetime", fake)
    return clock


@pytest.fixture
def guarded(apply):
    apply(clock.WORKAROUND)


def lease_s(superlink, monkeypatch, seconds):
    """Return whether the node is online so many seconds from now, in a clock that nobody sets."""
    state = superlink.states.state()
    from flwr.server.superlink.linkstate import sqlite_linkstate

    now = sqlite_linkstate.now
    with monkeypatch.context() as patched:
        patched.setattr(sqlite_linkstate, "now", lambda: now() + dt.timedelta(seconds=seconds))
        return superlink.node_id in state.get_nodes(superlink.run_id)


def test_flower_holds_a_dead_node_for_online_a_day_longer(superlink, wall, monkeypatch):
    superlink.states.state().acknowledge_node_heartbeat(superlink.node_id, 30)
    wall.shift_s = -DAY_S
    assert lease_s(superlink, monkeypatch, 3600)


@pytest.mark.parametrize("shift_s", [-DAY_S, DAY_S])
def test_a_lease_ends_when_it_would_have(superlink, wall, monkeypatch, guarded, shift_s):
    superlink.states.state().acknowledge_node_heartbeat(superlink.node_id, 30)
    wall.shift_s = shift_s
    assert lease_s(superlink, monkeypatch, 50)
    assert not lease_s(superlink, monkeypatch, 70)


def test_flower_forgets_a_token_when_the_clock_goes_forward(wall):
    state = InMemoryCoreState(object_store=None)
    token = state.create_token(1)
    wall.shift_s = DAY_S
    assert not state.verify_token(1, token)


def test_a_token_stays(wall, guarded):
    state = InMemoryCoreState(object_store=None)
    token = state.create_token(1)
    wall.shift_s = DAY_S
    assert state.verify_token(1, token)


def signed(at):
    private, public = generate_key_pairs()
    text = at.isoformat()
    return SimpleNamespace(
        method="/flwr.proto.Fleet/PullMessages",
        invocation_metadata=(
            (PUBLIC_KEY_HEADER, public_key_to_bytes(public)),
            (TIMESTAMP_HEADER, text),
            (SIGNATURE_HEADER, sign_message(private, text.encode("ascii"))),
        ),
    )


def is_accepted(details):
    handler = SimpleNamespace(
        unary_unary=lambda *_: None, request_deserializer=None, response_serializer=None
    )
    asked = []
    NodeAuthServerInterceptor(None).intercept_service(lambda each: asked.append(each) or handler, details)
    return bool(asked)


def true_time():
    return dt.datetime.now(dt.UTC)


def test_flower_refuses_nodes_that_are_right_when_its_own_clock_is_set_back(wall):
    assert is_accepted(signed(true_time()))
    wall.shift_s = -DAY_S
    assert not is_accepted(signed(true_time()))


@pytest.mark.parametrize("shift_s", [-DAY_S, DAY_S])
def test_nodes_with_their_own_clock_and_nodes_of_this_machine_are_heard(wall, guarded, shift_s):
    wall.shift_s = shift_s
    assert is_accepted(signed(true_time()))
    assert is_accepted(signed(wall_now(wall)))


def wall_now(wall):
    return true_time() + dt.timedelta(seconds=wall.shift_s)


@pytest.mark.parametrize("age_s", [-60.0, 400.0, DAY_S, 2 * DAY_S])
def test_an_old_signature_is_refused_all_the_same(wall, guarded, age_s):
    wall.shift_s = -DAY_S / 2
    assert not is_accepted(signed(true_time() - dt.timedelta(seconds=age_s)))
    assert not is_accepted(signed(wall_now(wall) - dt.timedelta(seconds=age_s + 3600)))


def test_a_signature_without_a_time_zone_is_no_time(wall, guarded):
    details = signed(true_time().replace(tzinfo=None))
    with pytest.raises(TypeError):
        is_accepted(details)
