"""Every size at the Fleet API has a limit, and what is refused leaves nothing (attacks 11 to 15)."""

import os
import sqlite3
from contextlib import closing

import grpc
import pytest
from flwr.proto import fleet_pb2 as fleet
from flwr.proto.message_pb2 import ObjectTree

from oneflower.flower.programs import program_of
from oneflower.flower.v1_25.fleet_limits import MAX_REASON
from oneflower.procfs import command_line

from ..e2e.conftest import running
from .attacker import answering, chunk, from_flower, honest_content, reply, wire_message

pytestmark = [pytest.mark.attacks, pytest.mark.timeout(900), pytest.mark.xdist_group("attacks-fleet")]

MB = 1_000_000
GHOSTS = 40


def superlink(cluster):
    """Return the pid of the SuperLink's process."""
    pids = [each.pid for each in running(cluster.token())]
    (found,) = [pid for pid in pids if program_of(command_line(pid)) == "superlink"]
    return found


def database(cluster):
    (found,) = (cluster.state / "superlink").rglob("*.db")
    return found


def size_mb(cluster):
    """Return the size of the SuperLink's database on disk, its log included."""
    path = database(cluster)
    return sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*")) / MB


def objects(cluster):
    with closing(sqlite3.connect(database(cluster))) as connection:
        return connection.execute("SELECT count(*) FROM objects").fetchone()[0]


def refused(call, *arguments, **options):
    """Make a call that the SuperLink must refuse; return the status."""
    with pytest.raises(grpc.RpcError) as raised:
        call(*arguments, **options)
    return raised.value.code()


def push(attacker, asked, message, tree, **wire):
    request = fleet.PushMessagesRequest(
        node=attacker.node,
        messages_list=[wire_message(asked, message, message_id=message.id, src_node_id=attacker.id, **wire)],
        message_object_trees=[tree],
    )
    return attacker.fleet.PushMessages(request, timeout=60.0)


@pytest.fixture
def asked(attacker):
    """A train message; what came before it was answered with an error."""
    while True:
        found = attacker.next(120)
        if found.type == "train":
            return found
        attacker.push_error(found, "not today")


def test_ghosts_are_never_sampled(cluster):
    """Row 11: 150 of them made a round of 0.8 s take 65 s."""
    ghosts = [cluster.attacker(join=False) for _ in range(GHOSTS)]
    for ghost in ghosts:
        ghost.register()
        ghost.activate(heartbeat_s=1800.0)
        ghost.beat(heartbeat_s=1800.0)
        ghost.channel.close()
        cluster.attackers.remove(ghost)
    cluster.check_unharmed()
    named = {event.client for event in cluster.events("client_joined", "client_failed", "client_quarantined")}
    assert not named & {str(ghost.id) for ghost in ghosts}
    query = "SELECT max(heartbeat_interval), max(online_until) - strftime('%s', 'now') FROM node"
    with closing(sqlite3.connect(database(cluster))) as connection:
        interval, online_s = connection.execute(query).fetchone()
    assert interval == 30
    assert online_s <= 61


def test_a_tree_of_30000_ids_is_refused_before_it_is_registered(cluster, attacker, asked):
    """Row 12: it held a lock for 17 s."""
    message = reply(asked, src_node_id=attacker.id)
    leaves = [ObjectTree(object_id=os.urandom(32).hex()) for _ in range(30_000)]
    tree = ObjectTree(object_id=message.id, children=leaves)
    assert refused(push, attacker, asked, message, tree) is grpc.StatusCode.FAILED_PRECONDITION
    assert objects(cluster) < 5_000
    attacker.push_error(asked, "enough")
    cluster.check_unharmed()


def test_a_refused_reply_leaves_nothing(cluster, attacker, asked):
    """Row 13: its 400 MB of objects stayed until the end of the run."""
    before = size_mb(cluster)
    for _ in range(8):
        part = chunk(os.urandom(5 * MB))
        message = reply(asked, part, src_node_id=attacker.id)
        status = refused(push, attacker, asked, message, message.tree(), reply_to_message_id="ab" * 32)
        assert status is grpc.StatusCode.FAILED_PRECONDITION
        assert refused(attacker.push_object, asked, part.id, part.content) is status
    assert size_mb(cluster) < before + 5
    attacker.push_error(asked, "enough")
    cluster.check_unharmed()


def test_the_objects_of_an_accepted_reply_are_bounded_too(cluster, attacker, asked):
    """A reply to a message of some kB may have 64 MB; what is above ends it, and its node is named."""
    before = size_mb(cluster)
    parts = [chunk(os.urandom(5 * MB)) for _ in range(16)]
    message = reply(asked, *parts, src_node_id=attacker.id)
    wanted = push(attacker, asked, message, message.tree()).objects_to_push
    sent = [part for part in parts if part.id in wanted]
    for part in sent[:12]:
        attacker.push_object(asked, part.id, part.content)
    with pytest.raises(grpc.RpcError, match="FL_MAX_UPDATE_MB"):
        attacker.push_object(asked, sent[12].id, sent[12].content)
    cluster.wait_until(
        lambda: any("FL_MAX_UPDATE_MB" in event.reason for event in cluster.left_out(attacker.id)),
        "the client is not named with FL_MAX_UPDATE_MB",
    )
    assert objects(cluster) < 5_000
    attacker.leave()
    cluster.check_unharmed()
    assert size_mb(cluster) < before + 16 * 5 + 20  # SQLite keeps the pages; they are used again


def test_a_giant_object_is_not_received(cluster, attacker, asked):
    """Row 14: 500 MB made the SuperLink take 2.8 GB."""
    before = cluster.peak_mb(superlink(cluster))
    giant = chunk(bytes(200 * MB))
    status = refused(attacker.push_object, asked, giant.id, giant.content)
    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert cluster.peak_mb(superlink(cluster)) < before + 60
    attacker.push_error(asked, "enough")
    cluster.check_unharmed()


def test_a_reason_of_megabytes_is_cut(cluster, attacker, asked):
    """Row 15: it went whole into journal, log and page."""
    assert refused(attacker.push_error, asked, "A" * (20 * MB)) is grpc.StatusCode.RESOURCE_EXHAUSTED
    attacker.push_error(asked, "\x1b[2J\n" + "A" * (10 * MB))
    cluster.wait_until(lambda: any("AAA" in event.reason for event in cluster.left_out(attacker.id)))
    reasons = [event.reason for event in cluster.left_out(attacker.id)]
    assert all(len(reason) < 2 * MAX_REASON for reason in reasons)
    assert max(map(len, (cluster.state / "journal.jsonl").read_bytes().splitlines())) < 50_000
    assert all(
        size < 20 * MB for size in (each.stat().st_size for each in (cluster.state / "logs").iterdir())
    )
    assert "\x1b[2J" not in cluster.log("superlink")
    cluster.check_unharmed()


def test_a_second_reply_is_refused(cluster, attacker, asked):
    """Row 2: it lost the run."""
    attacker.push_error(asked, "first")
    again = reply(asked, from_flower(honest_content(asked)), src_node_id=attacker.id)
    assert refused(push, attacker, asked, again, again.tree()) is grpc.StatusCode.FAILED_PRECONDITION
    cluster.check_unharmed()


def test_calls_about_what_a_node_was_not_handed_are_refused(cluster, attacker):
    stranger = cluster.attacker()
    with answering(attacker, lambda client, asked: client.push_error(asked, "no")) as answered:
        cluster.wait_until(lambda: answered)
    message = answered[0]
    assert refused(stranger.fetch, message) is grpc.StatusCode.FAILED_PRECONDITION
    assert refused(stranger.push_object, message, message.id, b"x") is grpc.StatusCode.FAILED_PRECONDITION
    stranger.leave()
    cluster.check_unharmed()


def test_many_refusals_are_few_lines_in_the_log(cluster, attacker, asked):
    before = cluster.log("superlink").count("fleet request refused call=PushObject")
    for _ in range(300):
        refused(attacker.push_object, asked, "ab" * 32, b"x")
    after = cluster.log("superlink").count("fleet request refused call=PushObject")
    assert after - before < 30
    assert "Traceback" not in cluster.log("superlink")
    attacker.push_error(asked, "enough")
