"""A member that is slow, silent or lies about what it measured: it sets no pace and ends no training."""

import os
import signal
import threading
import time

import pytest
from flwr.app import MetricRecord, RecordDict

from oneflower.checkpoints import CheckpointReader
from oneflower.flower.programs import program_of
from oneflower.procfs import command_line

from ..e2e.conftest import running
from .attacker import answering, honest_content

pytestmark = [pytest.mark.attacks, pytest.mark.timeout(900), pytest.mark.xdist_group("attacks-pace")]

LATE_S = 40.0
STOPPED_S = 10.0
GREETED_S = 6.0


def supernodes(cluster):
    """Return the pids of the honest SuperNodes."""
    pids = [each.pid for each in running(cluster.token())]
    return [pid for pid in pids if program_of(command_line(pid)) == "supernode"]


def test_a_node_that_was_stopped_once_makes_no_later_round_slower(cluster):
    """Rounds took 12.7, 26.9 and 82.6 s after one stop of 10 s."""
    pid = supernodes(cluster)[0]
    before = cluster.last_round
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(STOPPED_S)
    finally:
        os.kill(pid, signal.SIGCONT)
    took = {event.round: event.seconds for event in cluster.rounds_after(before, count=8)}
    stopped = max(took, key=took.__getitem__)
    assert took[stopped] > STOPPED_S / 2, took
    assert all(seconds < took[stopped] for number, seconds in took.items() if number > stopped), took
    cluster.check_unharmed()


def test_late_rubbish_beside_a_silent_member_lengthens_no_round(make_cluster):
    """A reply with NaN after 55 s and a member that said nothing made a round of 277 s: five times 55."""
    cluster = make_cluster(ROUND_TIMEOUT="1800", MIN_EVALUATE_CLIENTS="0")
    late, silent = cluster.attacker(), cluster.attacker()

    def rubbish(client, asked):
        until = time.monotonic() + LATE_S
        while time.monotonic() < until:
            client.beat()
            time.sleep(2)
        client.push_content(asked, honest_content(asked, fill=float("nan")))

    taken, stop = [], threading.Event()

    def say_nothing():
        while not taken and not stop.is_set():
            if (asked := silent.next(seconds=0.5)) is not None and asked.type == "train":
                taken.append(asked)
        while not stop.wait(2):
            silent.beat()  # asking for more would give the message up

    thread = threading.Thread(target=say_nothing, daemon=True)
    thread.start()
    try:
        with answering(late, rubbish) as done:
            cluster.wait_until(lambda: taken and (done or done.failed))
            (event,) = cluster.rounds_after(taken[0].round - 1, count=1)
    finally:
        stop.set()
        thread.join(30)
        silent.leave()
    assert cluster.left_out(late.id, "client_quarantined")
    reasons = [each.reason for each in cluster.left_out(silent.id, "client_failed")]
    assert any("no answer to train" in reason for reason in reasons), reasons
    assert event.seconds < 4 * LATE_S, "the reply that was quarantined set the time of the round"
    assert not cluster.honest_left_out()
    cluster.end()


def test_one_member_cannot_say_that_the_target_is_reached(make_cluster):
    """One evaluation with a loss of -1e9 ended the training; its round was the best for ever."""
    cluster = make_cluster(BEST_METRIC="-eval_loss", TARGET_METRIC_VALUE="0.1", CHECKPOINT_INTERVAL="1")
    liar = cluster.attacker()

    def lie(client, asked):
        content = honest_content(asked, fill=0.1)
        if asked.type == "evaluate":
            content = RecordDict({"metrics": MetricRecord({"num-examples": 10**9, "eval_loss": -1e9})})
        client.push_content(asked, content)

    with answering(liar, lie, kinds=("train", "evaluate")) as done:
        cluster.wait_until(lambda: sum(asked.type == "evaluate" for asked in done) >= 3 or done.failed)
        cluster.rounds_after(cluster.last_round)
    assert not cluster.events("training_finished")
    reader = CheckpointReader(cluster.state / "checkpoints")
    best = reader.verify(reader.rounds()[-1]).content["best"]
    assert best["value"] == pytest.approx(0.5), best
    cluster.end()


def test_a_member_that_greets_slowly_and_then_fails_is_greeted_twice_at_most(make_cluster):
    """It was greeted before each phase for ever, and each time all others waited: rounds of 57 s."""
    cluster = make_cluster(environ={"TEST_ARRAYS": "20"}, MIN_EVALUATE_CLIENTS="0")
    member, greeted = cluster.attacker(), []

    def slow(client, asked):
        if asked.type != "query":
            client.push_error(asked, "x", code=1)
            return
        greeted.append(asked)
        until = time.monotonic() + GREETED_S
        while time.monotonic() < until:
            client.beat()
            time.sleep(1)
        client.push_content(asked, asked.content)

    with answering(member, slow, kinds=("query", "train")) as done:
        cluster.wait_until(lambda: sum(asked.type == "train" for asked in done) >= 5 or done.failed)
    assert len(greeted) <= 2, "the member was greeted again after each error"
    assert not cluster.honest_left_out()
    cluster.end()
