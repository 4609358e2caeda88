"""`oneflower capacity`."""

import sys

import pytest

from oneflower.cli.main import main


@pytest.fixture
def oneflower(monkeypatch, capsys):
    """Return a function that runs the command; it gives the exit code, the output and the errors."""

    def run(*options):
        monkeypatch.setattr(sys, "argv", ["oneflower", "capacity", *options])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture
def rows(oneflower):
    """Run the command, and return what it prints by name."""

    def run(*options):
        code, output, errors = oneflower(*options)
        assert code == 0, errors
        lines = [line.split("  ", 1) for line in output.splitlines()[1:]]
        return {name: value.strip() for name, value in lines}

    return run


def test_it_says_what_a_round_takes(rows):
    found = rows("--nodes", "100", "--model-mb", "0.4", "--arrays", "4")
    assert found["calls a round"] == "4700"
    assert found["network a round"] == "80 MB to the nodes, 40 MB back"
    assert found["open files of the SuperLink"] == "135"
    assert "extrapolated" not in found["seconds a round"]


def test_it_says_what_was_not_measured(rows):
    found = rows("--nodes", "10000", "--model-mb", "0.4", "--sites", "20")
    assert "extrapolated: up to 1000 nodes were measured" in found["seconds a round"]
    assert "seconds a round through 20 sites" in found


def test_a_rule_that_compares_updates_needs_a_model_for_each_client(rows):
    options = ("--nodes", "10", "--model-mb", "500", "--arrays", "10")
    assert rows(*options)["memory of the ServerApp"] == "1.7 GB"  # 3 models, an array and the process
    assert rows(*options, "--no-mean")["memory of the ServerApp"] == "6.9 GB"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--nodes", "0", "--model-mb", "1"), "--nodes 0: expected 1 or more"),
        (("--nodes", "1", "--model-mb", "0"), "--model-mb 0.0: expected more than 0"),
        (("--nodes", "1", "--model-mb", "nan"), "--model-mb nan: expected more than 0"),
        (
            ("--nodes", "1", "--model-mb", "1", "--clients-per-round", "-1"),
            "--clients-per-round -1: expected",
        ),
    ],
)
def test_what_cannot_be_is_refused(oneflower, options, said):
    code, _, errors = oneflower(*options)
    assert code == 2
    assert said in errors
