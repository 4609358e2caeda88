"""`oneflower app`: does an app of your own do what oneflower needs of it."""

import json
import os
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from oneflower.cli.config import ContextOption
from oneflower.cli.findings import as_rows, has_problem, print_findings
from oneflower.errors import AppError
from oneflower.settings import read_context, resolve, run_config

app = typer.Typer(help="Apps of your own.", no_args_is_help=True, rich_markup_mode=None)


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
    Flower app, does the server call oneflower.sdk.train, are its run-config keys declared, do the replies
    hold what they must (num-examples among it), do equal seed, round and partition give equal bytes, does
    the client honour proximal-mu (mu 0 against a large mu) and lr.

    Exit code 0 where there is no problem (warnings do not count), 5 where there is one, 2 for wrong settings.
    """
    # Imported here: it loads Flower's engine, and the app.
    from oneflower.lab.app_check import check_app  # noqa: PLC0415
    from oneflower.lab.simulation import set_log_level  # noqa: PLC0415

    resolution = resolve(os.environ, read_context(context) if context else None)
    chosen = not resolution.provenance["FL_LOG_LEVEL"].is_default
    set_log_level(resolution.settings.log_level if chosen else "CRITICAL")
    with tempfile.TemporaryDirectory(prefix="oneflower-check-") as home, redirect_stdout(sys.stderr):
        findings = check_app(
            folder,
            run_config=run_config(resolution.settings),
            clients=clients or max(resolution.settings.clients_needed.values()),
            home=Path(home),
        )
    unfit = has_problem(findings)
    if as_json:
        document = {"app": str(folder), "ok": not unfit, "checks": as_rows(findings)}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        print_findings(findings, str(folder))
    if unfit:
        raise typer.Exit(AppError.exit_code)
