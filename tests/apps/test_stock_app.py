"""docs/bring-your-own-app.md converts a stock Flower app: its blocks are applied, and the result trains."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from oneflower.journal import read_journal
from oneflower.lab.app_check import check_app
from oneflower.settings import resolve, run_config

ROOT = Path(__file__).parents[2]
STOCK = ROOT / "tests" / "data" / "stock-app"
PAGE = (ROOT / "docs" / "bring-your-own-app.md").read_text(encoding="utf-8")
STEPS = re.split(r"^\*\*Step \d\. ", PAGE, flags=re.MULTILINE)
DIFF = re.compile(r'^```diff title="(\S+)"\n(.*?)^```$', re.DOTALL | re.MULTILINE)
SHOWN = re.compile(r"^(ok|problem|warning) +([a-z-]+) +(.*)$", re.MULTILINE)
WAIT_S = 240


def apply(step, folder):
    """Apply a step's blocks: the text to replace must occur exactly once."""
    for name, block in DIFF.findall(STEPS[step]):
        lines = [line or " " for line in block.splitlines()]
        old = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
        new = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
        path = folder / "stock" / name
        text = path.read_text(encoding="utf-8")
        # A step adds lines to a place that it names by what comes before: the first one is meant.
        assert old in text, f"step {step}: {name} does not hold\n{old}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")


def findings(folder, home):
    return check_app(folder, run_config=run_config(resolve({}).settings), clients=2, home=home)


@pytest.fixture
def stock(tmp_path):
    return Path(shutil.copytree(STOCK, tmp_path / "app"))


@pytest.fixture
def brought_over(stock):
    for step in range(1, len(STEPS)):
        apply(step, stock)
    return stock


def test_the_page_shows_the_output_of_the_check_for_a_stock_app(stock, tmp_path):
    found = {each.check: each for each in findings(stock, tmp_path / "home")}
    shown = SHOWN.findall(STEPS[0])
    assert [name for _, name, _ in shown] == list(found)
    for outcome, name, text in shown:
        assert found[name].outcome == outcome
        assert found[name].found.startswith(text.removesuffix("..."))


def test_no_step_of_the_page_makes_a_problem(stock, tmp_path):
    for step in range(1, len(STEPS)):
        apply(step, stock)
        found = findings(stock, tmp_path / f"home-{step}")
        assert [each.check for each in found if each.outcome != "ok"] == []
    assert found[-1].found == "it runs with checkpoints and resume"


def simulate(folder, state, **variables):
    command = [sys.executable, "-m", "oneflower.cli.main", "simulate", "--clients", "3"]
    settings = {"CHECKPOINT_ENABLED": "YES", "CHECKPOINT_INTERVAL": "1", **variables}
    done = subprocess.run(
        [*command, "--app", str(folder), "--state", str(state)],
        env={**os.environ, **{f"FL_{name}": value for name, value in settings.items()}},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    events = [entry.event for entry in read_journal(state / "journal.jsonl")]
    last = [event for event in events if event.tag == "round_completed"][-1]
    return events[-1].sha256, {each.name: each.value for each in last.metrics if each.origin == "central"}


def test_the_resulting_app_learns_and_resumes_to_the_same_bytes(brought_over, tmp_path):
    whole, metrics = simulate(brought_over, tmp_path / "whole", NUM_ROUNDS="4")
    assert metrics["accuracy"] > 0.9
    simulate(brought_over, tmp_path / "parts", NUM_ROUNDS="2")
    resumed, _ = simulate(brought_over, tmp_path / "parts", NUM_ROUNDS="4")
    assert resumed == whole


def test_the_strategy_of_the_settings_trains_it(brought_over, tmp_path):
    models = {
        strategy: simulate(brought_over, tmp_path / strategy, NUM_ROUNDS="1", STRATEGY=strategy)[0]
        for strategy in ("FedAvg", "FedProx")
    }
    assert len(set(models.values())) == len(models)
