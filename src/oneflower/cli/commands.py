"""The subcommands of `oneflower`: where each is, and its line in the help. Each is imported when used."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import click
import typer
from typer.core import TyperGroup


@dataclass(frozen=True, slots=True)
class Listed:
    """A command, or a group of commands, by module and name in it.

    ``help`` is the first line of its own help: a test holds it against what the command says.
    """

    module: str
    name: str
    help: str


COMMANDS: Final[Mapping[str, Listed]] = {
    "up": Listed("up", "up", "Start a SuperLink and SuperNodes on this machine, train, and write a report."),
    "supervise": Listed(
        "supervise",
        "supervise",
        "Submit the app to the SuperLink at FL_CONTROL_API_ADDRESS, and again whenever its run is lost.",
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
    "track": Listed("track", "track", "Hand a training to TensorBoard or MLflow."),
    "simulate": Listed(
        "simulate",
        "simulate",
        "Train with simulated clients: same settings, same rounds, same checkpoints, no processes.",
    ),
    "new": Listed(
        "new",
        "new",
        "Write a small PyTorch app into a new folder NAME; it trains as it is, on data that it draws.",
    ),
    "export-adapter": Listed(
        "export_adapter",
        "export_adapter",
        "Write the LoRA adapter of a checkpoint as a folder that peft's own loader opens.",
    ),
    "app": Listed("app", "app", "Apps of your own."),
    "appliance": Listed(
        "appliance",
        "app",
        "Stages of a virtual machine on OpenNebula, which one-apps runs at every boot.",
    ),
    "checkpoints": Listed(
        "checkpoints",
        "app",
        "List, prove, compare and export the checkpoints of a training, or go back to one.",
    ),
    "config": Listed("config", "app", "Check and show the FL_* variables, and what Flower gets from them."),
    "models": Listed("models", "app", "Base models for the llm-fine-tuning app."),
    "template": Listed("template", "app", "Generate templates for OpenNebula from the table of variables."),
}


def load(name: str) -> click.Command:
    """Import a command's module and return it as Typer makes it."""
    listed = COMMANDS[name]
    target = getattr(importlib.import_module(f"oneflower.cli.{listed.module}"), listed.name)
    parent = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    if isinstance(target, typer.Typer):
        parent.add_typer(target, name=name)
    else:
        parent.command(name)(target)
    return typer.main.get_group(parent).commands[name]


class LazyGroup(TyperGroup):
    """Lists every command, and imports only the one that is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: click.Command(name, help=listed.help) for name, listed in COMMANDS.items()}

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command that can be called, None without one of that name."""
        return load(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list as click does, without importing what it lists."""
        width = formatter.width - 6 - max(map(len, self.commands))
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, command.get_short_help_str(width)) for name, command in self.commands.items()]
            )
