"""A command is imported only when it is called; the list shows the first line of each command's help."""

import ast
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer
from typer.testing import CliRunner

import oneflower.cli
from oneflower.cli.commands import COMMANDS, load
from oneflower.cli.main import app

HEAVY = ["torch", "flwr", "grpc", "starlette", "uvicorn", "numpy", "cryptography", "httpx"]
IMPORTED = """
import sys
from oneflower.cli.main import main
sys.argv = ["oneflower", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(*sorted(sys.modules), file=sys.stderr)
"""


def imported(*arguments):
    """Run a command and return every module that it has imported."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_shows_the_first_line_of_a_commands_own_help(name):
    command = load(name)
    assert command.name == name
    assert command.get_short_help_str(1000) == COMMANDS[name].help


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_own_help(name):
    shown = CliRunner().invoke(app, [name, "--help"])
    assert shown.exit_code == 0
    assert COMMANDS[name].help.split(":")[0].split("...")[0][:40] in " ".join(shown.output.split())


def test_the_help_is_plain_text():
    """Typer escapes brackets for Rich, which does not print this help."""
    shown = CliRunner().invoke(app, ["new", "--help"])
    assert "[required]" in shown.output
    assert "\\[" not in shown.output


def test_every_command_is_listed():
    """Every module that is a command, or a group of commands, has a row."""
    folder = Path(oneflower.cli.__file__).parent
    groups = {
        file.stem
        for file in folder.glob("*.py")
        if any(
            isinstance(node, ast.Assign) and ast.unparse(node).startswith("app = typer.Typer(")
            for node in ast.parse(file.read_text()).body
        )
    }
    assert groups - {"main"} == {listed.module for listed in COMMANDS.values() if listed.name == "app"}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_a_light_command_imports_nothing_heavy(arguments):
    assert imported(*arguments).isdisjoint(HEAVY)


@pytest.mark.parametrize("arguments", [["config", "check"], ["config", "--help"]])
def test_the_settings_import_no_more_than_the_strategies_that_they_list(arguments):
    """A strategy's variables stand beside its rule, which is NumPy code (decision 157)."""
    assert imported(*arguments).isdisjoint(set(HEAVY) - {"numpy"})


def test_only_the_command_that_is_called_is_imported():
    modules = {name for name in imported("config", "check") if name.startswith("oneflower.cli.")}
    assert modules == {f"oneflower.cli.{name}" for name in ("commands", "config", "main", "tables")}


def test_help_lists_them_all_in_their_order():
    lines = CliRunner().invoke(app, ["--help"]).output.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in lines[: len(COMMANDS)]] == list(COMMANDS)


def test_a_mistyped_command_is_answered_with_the_nearest():
    said = CliRunner().invoke(app, ["confg"])
    assert said.exit_code == 2
    assert "Did you mean 'config'?" in said.output


def test_an_unlisted_command_cannot_be_loaded():
    group = typer.main.get_group(app)
    assert group.get_command(click.Context(group), "__init__") is None
