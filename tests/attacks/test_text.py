"""What a client writes controls no terminal, forges no line of a log and fills nothing (rows 15, 17)."""

import subprocess
import sys

import pytest

from .attacker import answering

pytestmark = [pytest.mark.attacks, pytest.mark.timeout(900), pytest.mark.xdist_group("attacks-text")]

FORGED = "INFO :      round completed round=99999"
REASON = (
    "\x1b[2J\x1b[31mPWNED\x1b]0;owned\x07\nINFO :      round completed round=99999/99999 valid=3\r\n"
    "<script>alert(1)</script>\u202e\x9b31m"
)


def oneflower(*arguments):
    command = [sys.executable, "-m", "oneflower.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_a_reason_with_controls_is_escaped_wherever_it_is_shown(cluster, tmp_path):
    attacker = cluster.attacker()
    with answering(attacker, lambda member, asked: member.push_error(asked, REASON)):
        cluster.wait_until(lambda: cluster.left_out(attacker.id), "the attacker was not left out")
    cluster.wait_until(lambda: "PWNED" in cluster.log("superlink"), "the reason is not in the log")
    log = cluster.log("superlink")
    report = tmp_path / "report.html"
    oneflower("report", cluster.state, "--output", report)
    shown = {
        "superlink.log": log,
        "logs": oneflower("logs", cluster.state),
        "logs --process": oneflower("logs", cluster.state, "--process", "superlink"),
        "status": oneflower("status", cluster.state),
        "journal": (cluster.state / "journal.jsonl").read_text(),
        "report": report.read_text(),
    }
    for where, text in shown.items():
        forged = [line for line in text.splitlines() if line.startswith(FORGED)]
        assert not forged, where
        assert "\x1b[2J" not in text, where
        assert "\x1b]" not in text, where
        assert "\u202e" not in text, where
        assert "\x9b" not in text, where
    assert "<script>alert" not in shown["report"]
    cluster.check_unharmed()


def test_a_reason_of_10_mb_leaves_little(cluster):
    attacker = cluster.attacker()
    with answering(attacker, lambda member, asked: member.push_error(asked, "A" * 10_000_000)):
        cluster.wait_until(
            lambda: any(event.reason.startswith("A") for event in cluster.left_out(attacker.id)),
            "the attacker was not left out",
        )
    found = [event.reason for event in cluster.left_out(attacker.id) if event.reason.startswith("A")]
    assert all(len(reason) < 5000 and "more characters" in reason for reason in found)
    assert "A" * 10_000 not in cluster.log("superlink")
    cluster.check_unharmed()
