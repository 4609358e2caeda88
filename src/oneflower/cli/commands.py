"""The subcommands of `oneflower`: module, name and help line of each. A command is imported when used."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import click
import typer
from typer.core import TyperGroup


@dataclass(frozen=True, slots=True)
class Listed:
    """A command, or a group of commands: its module and its name there.

    ``help`` is the first line of its own help; a test compares the two.
    """

    module: str
    name: str
    help: str


COMMANDS: Final[Mapping[str, Listed]] = {
    "up": Listed("up", "up", "Run a SuperLink and SuperNodes on this machine, train, and write a report."),
    "supervise": Listed(
        "supervise",
        "supervise",
        "Submit the app to the SuperLink at FL_CONTROL_API_ADDRESS, and resubmit it after a lost run.",
    ),
    "status": Listed(
        "status",
        "status",
        "Show a training on one screen: how far it is, who takes part, what is saved, what it waits for.",
    ),
    "logs": Listed(
        "logs",
        "logs",
        "Print what happened to a training, one line an event, or the log of one of its processes.",
    ),
    "dashboard": Listed(
        "dashboard",
        "dashboard",
        "Show a training on a live page: how it goes, who is in trouble, what is saved, what happened.",
    ),
    "report": Listed(
        "report", "report", "Write the report of a training: curves, events, clients, checkpoints, settings."
    ),
    "compare": Listed(
        "compare", "compare", "Compare trainings: strategies, mu, beta, anything that the settings change."
    ),
    "metrics": Listed(
        "metrics",
        "metrics",
        "Print a training's metrics once, for a look or for node_exporter's textfile folder.",
    ),
    "capacity": Listed(
        "capacity",
        "capacity",
        "Show the seconds, memory, disk and network that a round takes, by formulas fitted to measurements.",
    ),
    "track": Listed("track", "track", "Hand a training to TensorBoard or MLflow."),
    "simulate": Listed(
        "simulate",
        "simulate",
        "Train with simulated clients in this process, with the same settings, rounds and checkpoints.",
    ),
    "new": Listed(
        "new",
        "new",
        "Create a small app in a new folder NAME; it runs as it is, on synthetic data.",
    ),
    "export-adapter": Listed(
        "export_adapter",
        "export_adapter",
        "Export the LoRA adapter of a checkpoint as a folder that peft can load.",
    ),
    "app": Listed("app", "app", "Check an app of your own."),
    "appliance": Listed(
        "appliance",
        "app",
        "Stages of a virtual machine on OpenNebula, which one-apps runs at every boot.",
    ),
    "checkpoints": Listed(
        "checkpoints",
        "app",
        "List, verify, compare, export and roll back the checkpoints of a training.",
    ),
    "config": Listed("config", "app", "Check and show the FL_* variables and the resulting run-config."),
    "models": Listed("models", "app", "Fetch base models for the llm-fine-tuning app."),
    "template": Listed("template", "app", "Generate templates for OpenNebula from the table of variables."),
}


def load(name: str) -> click.Command:
    """Import a command's module and return the command as Typer builds it."""
    listed = COMMANDS[name]
    target = getattr(importlib.import_module(f"oneflower.cli.{listed.module}"), listed.name)
    parent = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    if isinstance(target, typer.Typer):
        parent.add_typer(target, name=name)
    else:
        parent.command(name)(target)
    return typer.main.get_group(parent).commands[name]


class LazyGroup(TyperGroup):
    """Lists every command but imports only the one that is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: click.Command(name, help=listed.help) for name, listed in COMMANDS.items()}

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name; None if there is none."""
        return load(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list as click does, without importing the commands."""
        width = formatter.width - 6 - max(map(len, self.commands))
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, command.get_short_help_str(width)) for name, command in self.commands.items()]
            )
