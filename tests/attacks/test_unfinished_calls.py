"""Calls that are begun and never finished, or never read: a training goes on beside them.

Where each has a thread, those of a few callers are all threads of the SuperLink, 3,300, of stock Flower
1,000: no round was completed, and SuperNodes whose calls were refused ended.
"""

import resource
from contextlib import ExitStack

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.supercore.primitives.asymmetric import public_key_to_bytes

from .unfinished import HalfSent, asking_at_once, channels, idle_connections, through

pytestmark = [pytest.mark.attacks, pytest.mark.timeout(900), pytest.mark.xdist_group("attacks-unfinished")]

ROUNDS = 3
SOURCES = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
OF_EACH = 1_120
USUAL_FILES = 1_024
HALF_A_HANDSHAKE = b"\x16\x03\x01\x02\x00\x01"


@pytest.fixture(scope="module")
def key():
    """The key of a hostile member."""
    return ec.generate_private_key(ec.SECP384R1())


@pytest.fixture(scope="module")
def guarded(make_cluster, key):
    """Return a training whose SuperLink takes known keys only, one of them hostile."""
    public = public_key_to_bytes(key.public_key()).decode()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (USUAL_FILES, hard))
    try:
        return make_cluster(NODE_AUTH="YES", NODE_KEYS=public)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4 * USUAL_FILES, hard)), hard))


@pytest.fixture
def half():
    made = HalfSent()
    yield made
    made.end()


def supernodes(cluster):
    """Return the pids of the SuperNodes' processes."""
    return [cluster.pid(f"supernode-{number}") for number in range(2)]


def test_half_sent_calls_of_a_stranger_from_three_addresses_take_no_thread(guarded, half):
    """3,360 calls from 127.0.0.2, .3 and .4: each address stays below the limit of one network."""
    before = supernodes(guarded)
    stranger = guarded.attacker(join=False)
    with ExitStack() as stack:
        for source in SOURCES:
            address = stack.enter_context(through(source, guarded.address))
            half.begin(stranger, "ActivateNode", channels(address, guarded.credentials(), 12), OF_EACH)
        guarded.rounds_after(guarded.last_round + 1, ROUNDS)
        guarded.wait_until(lambda: not half.open, "calls are open")
    assert {call.code() for call in half.calls} == {grpc.StatusCode.FAILED_PRECONDITION}
    assert supernodes(guarded) == before
    guarded.check_unharmed()


def test_a_member_holds_only_its_own_calls(guarded, half, key):
    """3,400 half-sent calls and 520 questions for work of one member from one address."""
    member = guarded.attacker(join=False, key=key)
    member.activate()
    before = supernodes(guarded)
    opened = channels(guarded.address, guarded.credentials(), 36)
    half.begin(member, "PullMessages", opened, 3_400)
    with asking_at_once(member, opened, 520) as asked:
        guarded.wait_until(lambda: len(asked) >= 500, "the attacker does not come to ask")
        guarded.rounds_after(guarded.last_round + 1, ROUNDS)
    guarded.wait_until(lambda: half.open < 20, "its calls are held")
    half.end()
    member.leave()
    assert supernodes(guarded) == before
    guarded.check_unharmed()


@pytest.mark.parametrize("sent", [b"", HALF_A_HANDSHAKE], ids=["nothing", "half a handshake"])
def test_idle_connections_do_not_take_the_files_of_a_superlink(guarded, sent):
    """1,500 connections of a stranger's were all files that a process usually has: no round was completed."""
    before = supernodes(guarded)
    with idle_connections(guarded.address, 1_500, sources=SOURCES, send=sent) as opened:
        assert len(opened) > USUAL_FILES
        guarded.rounds_after(guarded.last_round + 1, ROUNDS)
    assert supernodes(guarded) == before
    guarded.check_unharmed()
