"""`oneflower app`: check that an app of your own meets oneflower's requirements."""

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from oneflower.cli.config import ContextOption, RunConfigOption
from oneflower.cli.findings import as_rows, has_problem, print_findings
from oneflower.errors import AppError, OneflowerError
from oneflower.settings import (
    Settings,
    Value,
    app_values,
    keys_of_texts,
    read_context,
    resolve,
    run_config,
    with_the_authors,
)

MORE_CLIENTS = (5, 10, 100)
"""Tried in turn for a server that waits for more clients than a round of the settings needs."""

app = typer.Typer(help="Check an app of your own.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def root() -> None:
    """Check an app of your own."""


@app.command()
def check(  # noqa: PLR0913 - one parameter per option
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a Flower app.")],
    *,
    context: ContextOption = None,
    options: RunConfigOption = None,
    clients: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Clients that the server sees; by default as many as it waits for.",
        ),
    ] = None,
    deadline: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=1, help="Time after which an app that hangs is ended."),
    ] = 120,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check a Flower app and print how to fix each problem.

    Runs its server up to round 1 and trains one client several times, in one process of its own. Checks that
    it is a Flower app, what of its folder is packed, which Flower it asks for, that its run-config keys are
    declared, that replies are complete (including num-examples), that the same seed, round and partition
    give the same bytes, that proximal-mu (0 compared with a large mu) and lr change what the client trains,
    and where the noise of differential privacy comes from; with FL_GPU_ENABLED=YES the client trains on a
    GPU, and what is not deterministic there is named. An app that hangs is ended at the deadline, with the
    findings so far and the step that hung. The verdict says what the app gets and what it needs for the rest.

    The server runs twice, each time in a temporary working directory, where the files of the current one are
    found. The app gets the keys of FL_APP_CONFIG and --run-config, as under `up` and `simulate`.

    Exit code 0 without a problem (warnings do not count), 5 with one, 2 for wrong settings, 8 if a GPU is
    required and none can be used.
    """
    # Imported here: it loads Flower's engine, and the app.
    from oneflower.flower.app_gpus import gpu_environment, is_no_container  # noqa: PLC0415
    from oneflower.lab.app_check.child import check_within  # noqa: PLC0415
    from oneflower.local_cluster.gpu_check import check_gpus  # noqa: PLC0415

    resolution = resolve(os.environ, read_context(context) if context else None)
    settings, values = _with_app_keys(folder, resolution.settings, options or ())
    is_no_container(os.environ)
    missing = check_gpus(settings, os.environ)
    if missing:
        sys.stderr.write(f"warning: {missing}\n")
    chosen = not resolution.provenance["FL_LOG_LEVEL"].is_default
    with tempfile.TemporaryDirectory(prefix="oneflower-check-") as home:
        findings = check_within(
            folder,
            run_config={**run_config(settings), **values},
            clients=clients or max(settings.clients_needed.values()),
            or_more=() if clients else MORE_CLIENTS,
            home=Path(home),
            deadline_s=deadline,
            log_level=settings.log_level if chosen else "CRITICAL",
            variables=gpu_environment(settings, os.environ),
        )
    unfit = has_problem(findings)
    if as_json:
        document = {"app": str(folder), "ok": not unfit, "checks": as_rows(findings)}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        print_findings(findings, str(folder))
    if unfit:
        raise typer.Exit(AppError.exit_code)


def _with_app_keys(
    folder: Path, settings: Settings, options: Sequence[str]
) -> tuple[Settings, dict[str, Value]]:
    """Return the settings with the author's minimums, and the values of the app's own keys, as `up` does.

    Where the folder is no app, the check says so.

    Raises
    ------
    SettingsError
        A value for a key of the app's own is wrong.
    """
    from oneflower.flower.fab import build_fab  # noqa: PLC0415 - it loads Flower's engine

    given = keys_of_texts(settings.app_config, options)
    try:
        own = build_fab(folder).own
    except (OneflowerError, ValueError, OSError):
        return settings, {}
    return with_the_authors(settings, own), app_values(given, own)
