"""What tests see of hosts: their journal, what OneGate was told, the live page. conftest.py loads it."""

import json
import os
import time

import pytest

from oneflower.journal import read_journal

ASKED_FOR = os.environ.get("ONEFLOWER_HOSTS") == "YES"
ROUNDS = 10
TRAINING = {
    "FL_USE_CASE": "image-classification",
    "FL_NUM_ROUNDS": str(ROUNDS),
    "FL_CHECKPOINT_ENABLED": "YES",
    "FL_CHECKPOINT_INTERVAL": "1",
    "FL_ROUND_TIMEOUT": "120",
}

both_kinds = pytest.mark.parametrize("lab", ["own", "containers"], indirect=True)
own_kind = pytest.mark.parametrize("lab", ["own"], indirect=True)


def journal_of(host):
    return [entry.event for entry in read_journal(host.file("/opt/flower/state/journal.jsonl"))]


def events(host, name):
    return [event for event in journal_of(host) if event.tag == name]


def completed(host):
    return max((event.round for event in events(host, "round_completed")), default=0)


def failure_of(host):
    """Return what a host that is not ready says."""
    told = host.published()
    return f"{told}\n{host.log()}\n{(host.disk / 'console.log').read_text()[-2000:]}"


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


def is_finished(host):
    return host.is_ready() and host.published().get("FL_STATE") == "finished"
