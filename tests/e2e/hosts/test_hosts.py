"""Three machines with real systemd, each given nothing but a context.sh; one kind has real containers."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from oneflower.journal import read_journal
from oneflower.opennebula.onegate.encoding import decode

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(1500)]

ROUNDS = 10
TRAINING = {
    "FL_USE_CASE": "image-classification",
    "FL_NUM_ROUNDS": str(ROUNDS),
    "FL_CHECKPOINT_ENABLED": "YES",
    "FL_CHECKPOINT_INTERVAL": "1",
    "FL_ROUND_TIMEOUT": "120",
}


HERE = Path(__file__).parent
both_kinds = pytest.mark.parametrize("lab", ["own", "containers"], indirect=True)
own_kind = pytest.mark.parametrize("lab", ["own"], indirect=True)


def journal_of(host):
    return list(read_journal(host.file("/opt/flower/state/journal.jsonl")))


def events(host, name):
    return [event for event in journal_of(host) if event["event"] == name]


def completed(host):
    return max((event["round"] for event in events(host, "round_completed")), default=0)


def failure_of(host):
    """Return what a host that is not ready says."""
    told = host.published()
    return f"{told}\n{host.log()}\n{(host.disk / 'console.log').read_text()[-2000:]}"


@pytest.fixture
def service(lab):
    link = lab.add("superlink", 10, **TRAINING)
    nodes = [lab.add("supernode", 11), lab.add("supernode", 12)]
    lab.start_onegate()
    return link, nodes


def is_ready(host):
    """Whether a host that has booted for the first time is READY; one that has given up is not waited for."""
    assert host.published().get("FL_STATE") != "failed", failure_of(host)
    return host.is_ready()


def has_booted(host):
    status = host.file("/etc/one-appliance/status")
    return status.exists() and status.read_text() in ("bootstrap_success\n", "configure_failure\n")


def boot_all(service, wait, tell):
    """Boot as OneFlow does with a readiness gate: SuperNodes only once the SuperLink is ready."""
    link, nodes = service
    link.boot()
    tell(f"{link.role} booted, context.sh of {len(link.context)} variables")
    wait("superlink is READY", link.is_ready, describe=lambda: failure_of(link))
    assert not any(node.is_ready() for node in nodes)
    for node in nodes:
        node.boot()
    for node in nodes:
        wait(
            f"supernode {node.vm} is READY",
            lambda node=node: node.is_ready(),
            describe=lambda node=node: failure_of(node),
        )


def ask_the_page(host, path):
    return host.run("curl", "--silent", "--show-error", "--fail", f"http://127.0.0.1:8265{path}")


def look_at_the_page(host, tell):
    """Ask for the live page, metrics and report on the machine itself, and from the network in vain."""
    page = ask_the_page(host, "/")
    assert "image-classification" in page
    deadline = time.monotonic() + 30
    line = "oneflower_round 0.0"
    while line == "oneflower_round 0.0" and time.monotonic() < deadline:
        metrics = ask_the_page(host, "/metrics")
        (line,) = [line for line in metrics.splitlines() if line.startswith("oneflower_round ")]
    assert float(line.split()[1]) >= 1
    tell(f"the live page answers on the SuperLink, {len(page)} bytes; /metrics says {line}")
    assert not host.is_reached(8265)
    settings = json.loads(ask_the_page(host, "/report.json"))["settings"]
    given = {row["variable"]: row["value"] for row in settings if row["source"] == "environment"}
    tell(f"settings that the report shows as given: {json.dumps(given)}")
    assert given == host.context


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
    resumed = events(link, "training_resumed")[-1]["round"]
    tell(f"it went on after round {resumed}; before the power cut round {before} was complete")
    assert before - 1 <= resumed <= before
    wait("a round more is complete", lambda: completed(link) > before, describe=lambda: failure_of(link))

    tell("LINK CUT of supernode 11 for a minute and a half")
    nodes[0].cut()
    cut_at = completed(link)
    time.sleep(90)
    nodes[0].mend()
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
    tell(
        f"model sha256 {finish['sha256']}, accuracy {events(link, 'round_completed')[-1]['central_metrics']}"
    )
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
    resumed = events(link, "training_resumed")[-1]["round"]
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


def is_finished(host):
    return host.is_ready() and host.published().get("FL_STATE") == "finished"


def test_supernodes_follow_a_superlink_that_was_replaced(lab, service, wait, tell):
    """Only the checkpoints survive: another machine, another address, another authority; training goes on."""
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
    wait(
        "a round more is complete, by the same supernodes",
        lambda: events(new, "training_resumed") and events(new, "round_completed"),
        timeout_s=900,
        describe=lambda: failure_of(new) + failure_of(nodes[0]),
    )
    resumed = events(new, "training_resumed")[0]["round"]
    assert completed(new) > resumed >= 2
    tell(f"it resumed after round {resumed}, and has completed {completed(new)}")


@both_kinds
def test_a_bad_context_is_told_with_all_its_mistakes(lab, wait, tell):
    """Not READY, FL_ERROR names everything, so does the journal of the unit; a good context then boots."""
    mistakes = {
        "FL_STRATEGY": "FedMagic",
        "FL_NUM_ROUNDS": "0",
        "FL_NODE_CONFIG": "$(touch /pwned)",
        "FL_CHECKPOINT_PATH": "`touch /pwned`",
    }
    host = lab.add("superlink", 10, **mistakes)
    lab.start_onegate()
    host.boot()
    wait(
        "FL_STATE is failed",
        lambda: host.published().get("FL_STATE") == "failed",
        describe=lambda: failure_of(host),
    )
    told = decode("FL_ERROR", host.published()["FL_ERROR"])
    tell("FL_ERROR, decoded:\n" + told)
    wait(
        "the stage has ended",
        lambda: host.file("/etc/one-appliance/status").read_text() == "configure_failure\n",
    )
    logged = host.log("one-context.service")
    tell("journal of the unit:\n" + logged)
    for name in mistakes:
        assert name in told
        assert name in logged
    assert not host.published()["gate"]
    assert not host.file("/pwned").exists()
    assert not host.file("/opt/flower").exists()

    host.context = {}
    host.kill()
    host.boot()
    wait("the mended host is READY", host.is_ready, describe=lambda: failure_of(host))
    assert "FL_ERROR" not in host.published()
    tell(
        host.run(
            "systemctl",
            "--no-pager",
            "show",
            "-p",
            "ActiveState",
            "-p",
            "ExecStart",
            "flower-superlink.service",
        )
    )


@both_kinds
def test_a_hostile_context_is_inert_on_a_real_host(lab, wait, tell):
    """Texts that every form accepts, and that a shell, systemd or Docker would take for more than text."""
    hostile = "$(touch /pwned)`touch /pwned`;touch${IFS}/pwned %n %%i \\ ' --privileged"
    link = lab.add(
        "superlink",
        10,
        FL_USE_CASE="image-classification",
        FL_CHECKPOINT_ENABLED="YES",
        FL_CHECKPOINT_PATH=f"/app/{hostile}",
        FL_DATABASE=f"state/{hostile}.db",
        FL_DASHBOARD_ADDRESS="0.0.0.0:8265",
        FL_DASHBOARD_TOKEN="$(touch${IFS}/pwned)`touch${IFS}/pwned`%n",
    )
    note = "$(touch /pwned)`touch /pwned`;touch${IFS}/pwned %n %%i --privileged"
    node = lab.add("supernode", 11, FL_NODE_CONFIG=f'partition-id=0 num-partitions=1 note="{note}"')
    lab.start_onegate()
    for host in (link, node):
        host.boot()
        wait(f"{host.role} is READY", lambda host=host: is_ready(host), describe=lambda h=host: failure_of(h))
        for path in ("/pwned", "/opt/flower/state/pwned", "/opt/flower/checkpoints/pwned"):
            assert not host.file(path).exists()
        mains = host.run(
            "systemctl", "show", "--property=ActiveState", "--value", f"flower-{host.role}.service"
        )
        assert mains.strip() == "active"
    assert link.file(f"/opt/flower/state/state/{hostile.rpartition('/')[0]}").is_dir()
    tell("no marker was made, and the database lies where the text says")
    wait("the page asks for its token", lambda: link.is_reached(8265), describe=lambda: failure_of(link))


@both_kinds
def test_a_boot_changes_only_what_its_context_changes(lab, wait, tell):
    """Stages run again on the running host; a reboot of one's own starts everything again."""
    host = lab.add("superlink", 10, **TRAINING)
    lab.start_onegate()
    host.boot()
    wait("superlink is READY", host.is_ready, describe=lambda: failure_of(host))

    def invocation(unit):
        return host.run("systemctl", "show", "--property=InvocationID", "--value", unit).strip()

    units = ("flower-superlink.service", "flower-supervisor.service")
    first = [invocation(unit) for unit in units]
    host.run("systemctl", "restart", "one-context.service", timeout=300)
    assert [invocation(unit) for unit in units] == first
    tell("the stages ran again: no unit was started anew")
    host.context["FL_NUM_ROUNDS"] = "5"
    host.write_context()
    host.run("systemctl", "restart", "one-context.service", timeout=300)
    link, supervisor = (invocation(unit) for unit in units)
    assert (link, supervisor != first[1]) == (first[0], True)
    tell("FL_NUM_ROUNDS changed: the supervisor was started anew, the SuperLink was not")


@pytest.mark.skipif(shutil.which("rspec") is None, reason="rspec is not installed")
def test_the_tests_of_the_marketplace_pass_on_a_host(lab, wait, tell, tmp_path):
    """The generated rspec files, run as they are against a host in place of a VM."""
    (tmp_path / "lib/community").mkdir(parents=True)
    shutil.copy(HERE / "app_handler.rb", tmp_path / "lib/community")
    # An image that is tried out is alone: without a token, without a service.
    alone = {"TOKEN": "NO", "ONEGATE_ENDPOINT": ""}
    hosts = [lab.add("superlink", 10, **alone), lab.add("supernode", 11, **alone)]
    for host in hosts:
        host.boot()
        wait(f"{host.role} has booted", lambda host=host: has_booted(host), describe=lambda h=host: h.log())
    for host in hosts:
        name = f"oneflower-{host.role}/tests"
        copied = tmp_path / "appliances" / name
        shutil.copytree(HERE.parents[2] / "appliances" / name, copied)
        environ = {**os.environ, "HOST_INIT": str(host.init)}
        command = ["rspec", "--no-color", "--format", "documentation", "--pattern", f"{copied}/*.rb"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ, cwd=tmp_path)
        tell(done.stdout)
        assert done.returncode == 0, done.stdout + done.stderr
