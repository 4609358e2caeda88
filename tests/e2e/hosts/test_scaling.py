"""OneFlow adds VMs to a role and takes the oldest away while a training runs."""

import json

import pytest
from hosts_watching import ASKED_FOR, TRAINING, boot_all, completed, events, failure_of, is_finished, own_kind

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(2400 if ASKED_FOR else 900)]
# A training that is over too early would show nothing of the last node.
ROUNDS = 24


@own_kind
def test_a_training_outlives_scaling_out_and_in(lab, wait, tell):
    """[11,12] -> +13 -> -11, the oldest -> +14: who comes takes part; each part has one node at the end."""
    link = lab.add("superlink", 10, **TRAINING | {"FL_NUM_ROUNDS": str(ROUNDS), "FL_ROUND_TIMEOUT": "60"})
    nodes = [lab.add("supernode", 11), lab.add("supernode", 12)]
    lab.start_onegate()
    boot_all((link, nodes), wait, tell)
    wait("round 1 is complete", lambda: completed(link) >= 1, describe=lambda: failure_of(link))

    scale_out(lab, link, nodes, 13, wait, tell)
    takes_part(link, 3, wait)
    gone = nodes.pop(0)
    tell(f"SCALE IN of supernode {gone.vm}, the oldest, after round {completed(link)}")
    lab.scale_in(gone)
    at = completed(link)
    wait("a round more is complete", lambda: completed(link) > at, describe=lambda: failure_of(link))
    scale_out(lab, link, nodes, 14, wait, tell)
    takes_part(link, 3, wait)
    wait("OneGate says finished", lambda: is_finished(link), timeout_s=900, describe=lambda: failure_of(link))
    assert completed(link) == ROUNDS
    tables = [event.members for event in events(link, "parts_assigned")]
    tell(f"parts, each with one VM: {tables}")
    assert sorted(tables[-1]) == [12, 13, 14]
    assert json.loads(link.file("/opt/flower/service/parts.json").read_text())["members"] == list(tables[-1])
    tell(f"clients by round: {[event.valid for event in events(link, 'round_completed')]}")


def scale_out(lab, link, nodes, vm, wait, tell):
    tell(f"SCALE OUT to supernode {vm} after round {completed(link)}")
    node = lab.add("supernode", vm)
    lab.write_service()
    nodes.append(node)
    node.boot()
    wait(f"supernode {vm} is READY", node.is_ready, describe=lambda: failure_of(node))


def takes_part(link, count, wait):
    """Wait for a round, of those that begin now, with so many valid updates."""
    seen = len(events(link, "round_completed"))
    wait(
        f"{count} nodes have taken part in a round",
        lambda: any(event.valid == count for event in events(link, "round_completed")[seen:]),
        describe=lambda: failure_of(link),
    )
