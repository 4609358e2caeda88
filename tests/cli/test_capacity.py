"""`oneflower capacity`."""

import sys

import pytest

from oneflower.cli.main import main


def drawn(nodes, training, evaluating):
    """Return the options of a federation whose rounds draw their clients."""
    numbers = {"--nodes": nodes, "--clients-per-round": training, "--evaluate-clients-per-round": evaluating}
    return tuple(part for option, number in numbers.items() for part in (option, str(number)))


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
        lines = [line.split("  ", 1) for line in output.splitlines()[1:] if not line.startswith("note: ")]
        return {name: value.strip() for name, value in lines}

    return run


def test_it_says_what_a_round_takes(rows):
    found = rows("--nodes", "100", "--model-mb", "0.4", "--arrays", "4")
    assert found["calls a round"] == "1800"
    assert found["network a round"] == "80 MB to the nodes, 40 MB back"
    assert found["open files of the SuperLink"] == "135"
    assert "extrapolated" not in found["seconds a round"]


def test_it_says_what_was_not_measured(rows):
    found = rows("--nodes", "10000", "--model-mb", "0.4", "--sites", "20")
    assert "(extrapolated)" in found["seconds a round"]
    assert "seconds a round through 20 sites" in found


def test_a_rule_that_compares_updates_needs_a_model_for_each_client(rows):
    options = ("--nodes", "10", "--model-mb", "500", "--arrays", "10")
    assert rows(*options)["memory of the ServerApp"] == "1.7 GB"  # 3 models, an array and the process
    assert rows(*options, "--no-mean")["memory of the ServerApp"] == "6.9 GB"


@pytest.mark.parametrize(
    ("options", "notes"),
    [
        (("--nodes", "100", "--model-mb", "0.4"), ()),
        (("--nodes", "1000", "--model-mb", "0.4"), ("set FL_MIN_AVAILABLE_CLIENTS=1000",)),
        (
            (*drawn(12_000, 100, 100), "--model-mb", "1"),
            ("extrapolated", "10000 nodes"),
        ),
        (
            (*drawn(100, 10, 0), "--model-mb", "1"),
            ("all 100 evaluate its model: set FL_EVALUATE_CLIENTS_PER_ROUND",),
        ),
        (
            ("--nodes", "5000", "--model-mb", "25"),
            (
                "extrapolated",
                "FL_MIN_AVAILABLE_CLIENTS=5000, or FL_STREAMING_MEAN=YES; else it keeps them, 125.2 GB",
                "set FL_ROUND_TIMEOUT to more than that (it is 3600 by default)",
                "beside the system",
            ),
        ),
        (("--nodes", "10", "--model-mb", "500"), ("extrapolated", "the VM template has 20 GiB")),
    ],
    ids=lambda value: " ".join(value) if value and value[0] == "--nodes" else "",
)
def test_notes_say_what_must_be_set_and_what_was_not_measured(oneflower, options, notes):
    code, output, _ = oneflower(*options)
    found = [line for line in output.splitlines() if line.startswith("note: ")]
    assert code == 0
    assert len(found) == len(notes)
    for note, line in zip(notes, found, strict=True):
        assert note in line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--nodes", "0", "--model-mb", "1"), "--nodes 0: expected a number from 1 to 1000000"),
        (("--nodes", "9" * 401, "--model-mb", "1"), "expected a number from 1 to 1000000"),
        (("--nodes", "1", "--model-mb", "0"), "--model-mb 0.0: expected a number from 0.0001 to 1000000"),
        (("--nodes", "1", "--model-mb", "nan"), "--model-mb nan: expected a number from"),
        (("--nodes", "1", "--model-mb", "1e308"), "--model-mb 1e+308: expected a number from"),
        (("--nodes", "1", "--model-mb", "1", "--network-mbit", "1e-320"), "--network-mbit 1e-320: expected"),
        (("--nodes", "1", "--model-mb", "1", "--arrays", "100000000000"), "expected a number from 1 to"),
        (("--nodes", "9", "--model-mb", "1", "--sites", "10"), "--sites 10: expected a number from 0 to 9"),
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
