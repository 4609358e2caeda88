"""Three machines with real systemd, each given nothing but a context.sh, and everything that can be lost."""

import json
import shutil
import subprocess
import time

import pytest
from hosts_watching import (
    ROUNDS,
    TRAINING,
    boot_all,
    completed,
    events,
    failure_of,
    is_finished,
    is_ready,
    look_at_the_page,
    own_kind,
)

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(1500)]


def test_a_training_goes_from_contexts_to_a_model_through_every_crash(service, wait, tell):
    """The four crashes of the mission, on machines: a SuperNode, the SuperLink, the link; then the end."""
    link, nodes = service
    boot_all(service, wait, tell)
    assert link.published()["FL_ENDPOINT"] == f"{link.address}:9092"
    wait(
        "OneGate knows of a training",
        lambda: link.published().get("FL_STATE") == "training",
        describe=lambda: failure_of(link),
    )
    wait("round 2 is complete", lambda: completed(link) >= 2, describe=lambda: failure_of(link))
    look_at_the_page(link, tell)

    tell("POWER CUT of supernode 12")
    nodes[1].kill()
    nodes[1].boot()
    wait("supernode 12 is READY again", nodes[1].is_ready, describe=lambda: failure_of(nodes[1]))
    at = completed(link)
    wait(
        f"two rounds more than {at} are complete",
        lambda: completed(link) >= at + 2,
        describe=lambda: failure_of(link),
    )

    tell(f"POWER CUT of the superlink in round {completed(link) + 1}")
    link.kill()
    before = completed(link)
    link.boot()
    wait("superlink is READY again", link.is_ready, describe=lambda: failure_of(link))
    wait(
        "the training has resumed from a checkpoint",
        lambda: events(link, "training_resumed"),
        describe=lambda: failure_of(link),
    )
    resumed = events(link, "training_resumed")[-1].round
    tell(f"it went on after round {resumed}; before the power cut round {before} was complete")
    assert before - 1 <= resumed <= before
    wait("a round more is complete", lambda: completed(link) > before, describe=lambda: failure_of(link))

    tell("LINK CUT of supernode 11 for a minute and a half")
    nodes[0].cut()
    cut_at = completed(link)
    time.sleep(90)
    nodes[0].restore_link()
    tell("link mended")
    if cut_at < ROUNDS:
        wait("a round more is complete", lambda: completed(link) > cut_at, describe=lambda: failure_of(link))

    wait(
        "OneGate says finished",
        lambda: link.published().get("FL_STATE") == "finished",
        timeout_s=600,
        describe=lambda: failure_of(link),
    )
    told = link.published()
    tell(f"OneGate: {json.dumps({key: told[key] for key in sorted(told) if key != 'FL_CA_CERT'})}")
    assert told["FL_ROUND"] == told["FL_ROUNDS"] == told["FL_CHECKPOINT_ROUND"] == str(ROUNDS)
    (finish,) = events(link, "training_finished")
    tell(f"model sha256 {finish.sha256}, {events(link, 'round_completed')[-1].metrics}")
    assert link.file("/opt/flower/checkpoints/checkpoint_latest.npz").is_symlink()
    assert link.file(f"/opt/flower/checkpoints/checkpoint_round_{ROUNDS}.json").is_file()


@own_kind
def test_ready_is_true_and_a_training_survives_a_power_cut(service, wait, tell):
    """READY waits for a SuperLink that is slow to come; then a training, and the SuperLink's end in it."""
    link, nodes = service
    link.context |= {"FL_NUM_ROUNDS": "4"}
    link.file("/opt/slow-to-start").write_text("6")
    link.boot()

    def listens():
        ready_before = is_ready(link)
        assert link.is_reached(9092) or not ready_before, "READY before the SuperLink listens"
        return link.is_reached(9092)

    wait("the SuperLink listens, and was not READY before", listens, describe=lambda: failure_of(link))
    check_limits(link)
    link.file("/opt/slow-to-start").unlink()
    wait("superlink is READY", lambda: is_ready(link), describe=lambda: failure_of(link))
    for node in nodes:
        node.boot()
    for node in nodes:
        wait(
            "a supernode is READY",
            lambda node=node: is_ready(node),
            describe=lambda node=node: failure_of(node),
        )
    wait("round 1 is complete", lambda: completed(link) >= 1, describe=lambda: failure_of(link))
    look_at_the_page(link, tell)

    tell(f"POWER CUT of the superlink in round {completed(link) + 1}")
    link.kill()
    before = completed(link)
    link.boot()
    wait("OneGate says finished", lambda: is_finished(link), describe=lambda: failure_of(link))
    resumed = events(link, "training_resumed")[-1].round
    tell(f"it went on after round {resumed}; before the power cut round {before} was complete")
    assert before - 1 <= resumed <= before
    assert link.published()["FL_ROUND"] == link.published()["FL_CHECKPOINT_ROUND"] == "4"


def check_limits(host):
    """What stands in for a container engine takes the rights away that the unit says."""
    shown = host.run("systemctl", "show", "--property=MainPID", "--value", "flower-superlink.service")
    status = host.run("cat", f"/proc/{shown.strip()}/status")
    for line in ("Uid:\t49999\t49999\t49999\t49999", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"):
        assert line in status
    for path in ("opt/flower/config", "opt/flower/checkpoints"):
        host.run("test", "!", "-e", f"/proc/{shown.strip()}/root/{path}")
    mounts = host.run("cat", f"/proc/{shown.strip()}/mounts").splitlines()
    modes = {line.split()[1]: line.split()[3].split(",")[0] for line in mounts}
    assert {path: modes[path] for path in ("/", "/app/state", "/app/certs")} == {
        "/": "ro",
        "/app/state": "rw",
        "/app/certs": "ro",
    }


def test_supernodes_follow_a_superlink_that_was_replaced(lab, service, wait, tell):
    """Only the checkpoints survive: another machine, another address, another authority.

    The SuperNodes do not trust it until the operator says so; then the training goes on.
    """
    link, nodes = service
    boot_all(service, wait, tell)
    wait("round 2 is complete", lambda: completed(link) >= 2, describe=lambda: failure_of(link))
    tell(f"THE SUPERLINK IS LOST in round {completed(link) + 1}, with its disk but for the checkpoints")
    link.kill()
    new = lab.add("superlink", 13, **TRAINING)
    shutil.copytree(link.file("/opt/flower/checkpoints"), new.file("/opt/flower/checkpoints"), symlinks=True)
    subprocess.run(["chown", "-R", "49999:49999", new.file("/opt/flower/checkpoints")], check=True)
    lab.write_service(without=link)
    new.boot()
    wait("the new superlink is READY", new.is_ready, describe=lambda: failure_of(new))
    assert new.published()["FL_CA_CERT"] != link.published()["FL_CA_CERT"]
    wait("the supernodes refuse the authority", lambda: all("FL_ERROR" in node.published() for node in nodes))
    for node in nodes:
        node.file("/opt/flower/config/superlink-ca.pem").unlink()
    wait(
        "a round more is complete, by the same supernodes",
        lambda: events(new, "training_resumed") and events(new, "round_completed"),
        timeout_s=900,
        describe=lambda: failure_of(new) + failure_of(nodes[0]),
    )
    resumed = events(new, "training_resumed")[0].round
    assert completed(new) > resumed >= 2
    tell(f"it resumed after round {resumed}, and has completed {completed(new)}")
