"""`oneflower app`: does an app of your own do what oneflower needs of it."""

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from oneflower.cli.config import ContextOption
from oneflower.errors import AppError
from oneflower.monitor.lines import printable
from oneflower.settings import Settings, read_context, resolve, run_config

if TYPE_CHECKING:
    from oneflower.flower.app_check import Finding

app = typer.Typer(help="Apps of your own.", no_args_is_help=True, rich_markup_mode=None)

STYLES = {"ok": "green", "warning": "yellow", "problem": "red", "skipped": "dim"}


@app.callback()
def root() -> None:
    """Check an app of your own."""


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a Flower app.")],
    *,
    context: ContextOption = None,
    clients: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Clients that the server sees; if not given, as many as a round waits for.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what an app lacks, and how to mend it.

    Its server is run up to round 1, and one client is trained a few times, all in this process: is it a
    Flower app, does the server call oneflower.flower.train, are its run-config keys declared, do the replies
    hold what they must (num-examples among it), do equal seed, round and partition give equal bytes, does
    the client honour proximal-mu (mu 0 against a large mu) and lr.

    Exit code 0 where there is no problem (warnings do not count), 5 where there is one, 2 for wrong settings.
    """
    # Imported here: it loads Flower's engine, and the app.
    from oneflower.flower.app_check import check_app  # noqa: PLC0415
    from oneflower.flower.simulation import set_log_level  # noqa: PLC0415

    resolution = resolve(os.environ, read_context(context) if context else None)
    chosen = not resolution.provenance["FL_LOG_LEVEL"].is_default
    set_log_level(resolution.settings.log_level if chosen else "CRITICAL")
    with tempfile.TemporaryDirectory(prefix="oneflower-check-") as home, redirect_stdout(sys.stderr):
        findings = check_app(
            folder,
            run_config=run_config(resolution.settings),
            clients=clients or _clients(resolution.settings),
            home=Path(home),
        )
    problems = [finding for finding in findings if finding.outcome == "problem"]
    if as_json:
        _print_json(folder, findings)
    else:
        _print(folder, findings)
    if problems:
        raise typer.Exit(AppError.exit_code)


def _clients(settings: Settings) -> int:
    return max(settings.min_available_clients, settings.min_fit_clients, settings.min_evaluate_clients)


def _print_json(folder: Path, findings: Sequence["Finding"]) -> None:
    checks = [
        {"check": each.check, "outcome": each.outcome.value, "found": each.found, "mend": each.mend}
        for each in findings
    ]
    fit = all(each.outcome != "problem" for each in findings)
    sys.stdout.write(json.dumps({"app": str(folder), "ok": fit, "checks": checks}, indent=2) + "\n")


def _print(folder: Path, findings: Sequence["Finding"]) -> None:
    console = Console(soft_wrap=True)
    for each in findings:
        word = Text(f"{each.outcome.value:<9}", style=STYLES[each.outcome.value])
        console.print(Text.assemble(word, f"{each.check:<16}", printable(each.found)))
        if each.mend:
            console.print(Text.assemble(f"{'':<9}{'to mend':<16}", printable(each.mend)), style="dim")
    console.print(Text(f"{folder}: {_verdict(findings)}", style="bold"))


def _verdict(findings: Sequence["Finding"]) -> str:
    counts = {name: sum(each.outcome == name for each in findings) for name in ("problem", "warning")}
    if not any(counts.values()):
        return "everything that was checked is right"
    return ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items() if count)
