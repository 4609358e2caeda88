"""report, compare, metrics, track and dashboard: what they say, and what they refuse."""

import json
import os
import subprocess
import sys

import pytest

from oneflower.cli.sources import awaited
from oneflower.journal import Journal

from ..making import event, metrics

STRATEGIES = ("FedAvg", "Krum")


def run(*arguments, **environment):
    command = [sys.executable, "-m", "oneflower.cli.main", *map(str, arguments)]
    environ = {**os.environ, "COLUMNS": "200", **environment}
    return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=120, check=False)


def write_journal(folder, strategy="FedAvg"):
    journal = Journal(folder / "journal.jsonl")
    facts = {"rounds": 2, "strategy": strategy, "parameters": {"num-malicious": 1}, "app": "a/b"}
    journal.append(event("training_started", round=0, **facts))
    for number in (1, 2):
        journal.append(
            event(
                "round_completed",
                round=number,
                rounds=2,
                valid=3,
                seconds=1.0,
                metrics=metrics(central={"loss": 1 / number, "accuracy": number / 4}),
            )
        )
    journal.append(event("training_finished", round=2, sha256="ab", path="/final.npz", **facts))


@pytest.fixture
def state(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    write_journal(folder)
    return folder


@pytest.fixture
def two(tmp_path):
    for strategy in STRATEGIES:
        (tmp_path / strategy).mkdir()
        write_journal(tmp_path / strategy, strategy)
    return [tmp_path / strategy for strategy in STRATEGIES]


def test_the_report_lies_beside_the_journal(state):
    done = run("report", "--state", state)
    assert (done.returncode, done.stdout) == (0, f"{state / 'report.html'}\n")
    assert "All 2 rounds are done." in (state / "report.html").read_text()


def test_the_report_is_json_too(state):
    told = json.loads(run("report", "--state", state, "--format", "json").stdout)
    assert told["training"]["strategy"] == "FedAvg"
    assert told["training"]["best"] == {
        "round": 2,
        "metric": "accuracy",
        "measure": "central accuracy",
        "value": 0.5,
    }
    assert [result["round"] for result in told["rounds"]] == [1, 2]


@pytest.mark.parametrize("command", ["report", "metrics"])
def test_a_folder_without_a_journal_is_refused(tmp_path, command):
    done = run(command, "--state", tmp_path)
    assert done.returncode == 7
    assert "there is no journal" in done.stderr


def test_trainings_are_compared_in_a_table(two):
    lines = run("compare", *two).stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["FedAvg", "FedAvg"], ["Krum", "Krum"]]
    assert "accuracy 0.5000" in lines[1]


@pytest.mark.parametrize(("form", "sign"), [("html", "<!doctype html>"), ("svg", "<svg "), ("json", "{")])
def test_trainings_are_compared_in_a_picture(two, tmp_path, form, sign):
    target = tmp_path / "out"
    assert run("compare", *two, "--format", form, "--output", target).returncode == 0
    text = target.read_text()
    assert text.startswith(sign)
    assert all(strategy in text for strategy in STRATEGIES)


def test_a_training_is_not_compared_with_itself(state):
    done = run("compare", state, state)
    assert done.returncode == 2
    assert "given twice" in done.stderr


def test_metrics_are_printed(state):
    pytest.importorskip("prometheus_client")
    assert "oneflower_round 2.0" in run("metrics", "--state", state).stdout


def test_a_network_needs_a_token(state):
    pytest.importorskip("uvicorn")
    done = run("dashboard", "--state", state, "--host", "0.0.0.0", "--port", 0)
    assert done.returncode == 2
    assert "--token-file" in done.stderr


@pytest.mark.parametrize("options", [("--state", "typo"), ("typo",)])
def test_a_state_folder_that_does_not_exist_gets_no_page(tmp_path, options):
    pytest.importorskip("uvicorn")
    done = run("dashboard", "--port", 0, *(tmp_path / each if each == "typo" else each for each in options))
    assert (done.returncode, done.stdout) == (7, "")
    assert f"there is no state folder {tmp_path / 'typo'}" in done.stderr
    assert not (tmp_path / "typo").exists()


def test_a_page_may_be_started_before_the_first_training(tmp_path):
    """By a unit, or in the folder where `up` is about to start."""
    (tmp_path / "state").mkdir()
    for path, state in ((None, None), (tmp_path / "state", None), (None, tmp_path / "state")):
        assert "yet" in awaited(path, state, tmp_path / "state" / "journal.jsonl")
    assert "yet" in awaited(tmp_path / "none" / "journal.jsonl", None, tmp_path / "none" / "journal.jsonl")
    (tmp_path / "state" / "journal.jsonl").touch()
    assert awaited(None, tmp_path / "none", tmp_path / "state" / "journal.jsonl") is None


@pytest.mark.parametrize("content", ["", "\nlater\n", "short\n"])
def test_a_bad_token_file_is_refused(state, tmp_path, content):
    pytest.importorskip("uvicorn")
    file = tmp_path / "token"
    file.write_text(content)
    done = run("dashboard", "--state", state, "--port", 0, "--token-file", file)
    assert done.returncode == 2
    assert "token" in done.stderr


def test_tracking_wants_one_tracker(state):
    assert run("track", "--state", state).returncode == 2
    assert run("track", "--state", state, "--tensorboard", "x", "--mlflow", "y").returncode == 2


def test_a_command_without_its_extra_says_what_to_install(state, tmp_path):
    """As on a machine where the optional package is missing."""
    for package in ("uvicorn", "prometheus_client", "tensorboard"):
        (tmp_path / f"{package}.py").write_text("raise ImportError('absent', name=__name__)\n")
    for command, extra in (
        (("dashboard", "--port", "0"), "dashboard"),
        (("metrics",), "dashboard"),
        (("track", "--tensorboard", tmp_path / "tb"), "tensorboard"),
    ):
        done = run(*command, "--state", state, PYTHONPATH=str(tmp_path))
        assert done.returncode == 7
        assert f"pip install 'oneflower[{extra}]'" in done.stderr


def test_heavy_packages_are_loaded_only_by_the_command_that_needs_them(state):
    heavy = ["starlette", "uvicorn", "prometheus_client", "tensorboard", "mlflow"]
    code = (
        "import sys; from oneflower.cli.commands import COMMANDS, load; [load(name) for name in COMMANDS]; "
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
