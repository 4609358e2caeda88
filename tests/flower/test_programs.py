"""Which Flower program a process runs is told from its arguments, whoever started it."""

import pytest

from oneflower.flower.programs import program_of, value_of


@pytest.mark.parametrize(
    ("command", "program"),
    [
        (["/v/bin/python", "/v/bin/flwr-serverapp", "--insecure"], "serverapp"),
        (["/v/bin/flower-superexec"], "superexec"),
        (["python", "-P", "-m", "oneflower.flower.launch", "serverapp", "--token", "x"], "serverapp"),
        (["python", "-P", "-m", "oneflower.flower.launch"], None),
        (["vi", "notes", "about", "flwr-serverapp"], None),
        ([], None),
    ],
)
def test_a_program_is_known_by_its_arguments(command, program):
    assert program_of(command) == program


@pytest.mark.parametrize(
    ("command", "value"),
    [
        (["x", "--address", "a:1", "--address=b:2"], "b:2"),
        (["x", "--address"], None),
        (["x", "--other", "1"], None),
    ],
)
def test_the_last_value_of_a_flag_counts(command, value):
    assert value_of("--address", command) == value
