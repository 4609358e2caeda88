"""oned and OneGate away, in each way in which they are: all is right after it, without a human."""

import os
import time

import pytest
from hosts_watching import ASKED_FOR, TRAINING, boot_all, completed, events, failure_of, is_finished, own_kind

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(2400 if ASKED_FOR else 600)]
OUTAGE_S = float(os.environ.get("OUTAGE_S") or (300 if ASKED_FOR else 20))
# While they are so, nothing gets through; the last holds requests back, and does them when it ends.
AWAY = ("oned", "refused", "oned-between", "status", "oned-hangs")
# Then the one without the other, and changes that are made although the answer says 500.
HALF_BACK = ("oneflow", "oned-cuts")
# They come back slow, and what clients gave up on is applied late and in any order.
BUSY = {"latency_s": 1.0, "spread_s": 4.0, "erase_gap_s": 1.0, "workers": 4}


def away(lab, tell, still):
    """Be away in one way after the other, and come back step by step; ``still`` holds while all is away."""
    for outage in (*AWAY, *HALF_BACK):
        tell(f"AWAY for {OUTAGE_S / len(AWAY):.0f} s: {outage}")
        lab.faults(outage=outage)
        ends = time.monotonic() + OUTAGE_S / len(AWAY)
        while time.monotonic() < ends:
            if outage in AWAY:
                still()
            time.sleep(0.5)
    tell(f"BACK, busy: {BUSY}")
    lab.faults(**BUSY)


@own_kind
@pytest.mark.parametrize("role", ["superlink", "supernode"])
def test_a_bootstrap_outlasts_an_outage(lab, wait, tell, role):
    """It began before the outage, and becomes READY after it by itself."""
    link = lab.add("superlink", 10)
    node = lab.add("supernode", 11)
    lab.start_onegate()
    host = link if role == "superlink" else node
    if host is node:
        link.boot()
        wait("superlink is READY", link.is_ready, describe=lambda: failure_of(link))
    host.boot()
    wait("the bootstrap has begun", lambda: host.stage() == "bootstrap_started")

    def is_not_ready():
        assert not host.is_ready(), "READY cannot have been told"

    away(lab, tell, is_not_ready)
    wait(f"{role} is READY", host.is_ready, timeout_s=300, describe=lambda: failure_of(host))
    assert "FL_ERROR" not in host.published()
    wait("one-apps says so too", lambda: host.stage() == "bootstrap_success", describe=host.log)


@own_kind
def test_a_training_does_not_notice_an_outage_and_is_told_after_it(lab, wait, tell):
    """Rounds go on while nobody can be told; after it OneGate shows the end, and READY as before."""
    link = lab.add("superlink", 10, **TRAINING | {"FL_NUM_ROUNDS": "6"})
    nodes = [lab.add("supernode", 11), lab.add("supernode", 12)]
    lab.start_onegate()
    boot_all((link, nodes), wait, tell)
    wait("round 1 is complete", lambda: completed(link) >= 1, describe=lambda: failure_of(link))
    began, said = completed(link), []

    def nothing_is_told():
        said.append(link.published())
        assert said[-1] == said[0]

    away(lab, tell, nothing_is_told)
    tell(f"rounds {began} to {completed(link)} went on meanwhile")
    wait("OneGate says finished", lambda: is_finished(link), timeout_s=600, describe=lambda: failure_of(link))
    assert completed(link) == 6
    assert len(events(link, "training_finished")) == 1
    assert not events(link, "training_resumed"), "the outage stopped the training"
    told = link.published()
    assert (told["FL_ROUND"], told["FL_ROUNDS"], told["READY"]) == ("6", "6", "YES")
    for node in nodes:
        wait(
            f"supernode {node.vm} is READY and waits",
            lambda node=node: (
                (node.published().get("READY"), node.published().get("FL_STATE")) == ("YES", "waiting")
            ),
            timeout_s=180,
            describe=lambda node=node: failure_of(node),
        )
