"""`oneflower config`: check and show the variables, print the run-config and docs/variables.md."""

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from oneflower.cli.tables import print_table
from oneflower.errors import StateError
from oneflower.local_cluster.ports import LOOPBACK
from oneflower.settings import (
    TABLE,
    Notice,
    Resolution,
    Role,
    Settings,
    Value,
    Variable,
    as_text,
    read_context,
    render_run_config,
    resolve,
    run_config,
)
from oneflower.settings.document import variables_page
from oneflower.settings.examples import example_contexts
from oneflower.settings.secrets import holds_private_key
from oneflower.settings.values import Text64
from oneflower.settings.variable import MASK

app = typer.Typer(
    help="Check and show the FL_* variables and the resulting run-config.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

RunConfigOption = Annotated[
    list[str] | None,
    typer.Option(
        "--run-config",
        metavar="KEY=VALUE",
        help="Set a run-config key of the app's own; repeatable. It holds before FL_APP_CONFIG.",
    ),
]
ContextOption = Annotated[
    Path | None,
    typer.Option(
        "--context",
        metavar="FILE",
        help="OpenNebula context.sh; parsed, never executed. The environment overrides it.",
    ),
]


@app.command()
def check(
    *,
    context: ContextOption = None,
    role: Annotated[
        Role,
        typer.Option(
            case_sensitive=False, show_default=False, help="Machine that reads them; by default both."
        ),
    ] = Role.BOTH,
) -> None:
    """Check every variable and report all problems at once.

    With FL_NUM_MALICIOUS it says which strategies withstand so many of the clients. Exit code 0 if the
    settings are valid (warnings do not count), 2 if not. Nothing is started or written.
    """
    resolution = _resolve(context, role)
    if resolution.settings.ssl_ca_certfile:
        _check_certificates(resolution.settings, role)
    print_notices(resolution.notices, Console(soft_wrap=True))
    if resolution.preflight:
        sys.stdout.write(f"{resolution.preflight}\n")
    given = sum(not each.is_default for each in resolution.provenance.values())
    warnings = sum(notice.level == "warning" for notice in resolution.notices)
    sys.stdout.write(
        f"The settings are valid: {given} of {len(TABLE)} variables set, the rest at their defaults; "
        f"{warnings} {'warning' if warnings == 1 else 'warnings'}.\n"
    )


@app.command()
def show(
    *,
    context: ContextOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show every value and its source.

    Secrets are masked. Notices go to standard error.
    """
    resolution = _resolve(context)
    if as_json:
        document = {
            "variables": {variable.name: _as_json(variable, resolution) for variable in TABLE},
            "notices": [{"level": notice.level, "text": notice.text} for notice in resolution.notices],
        }
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        return
    print_table(
        ("variable", "value", "from", "default"), [_as_row(variable, resolution) for variable in TABLE]
    )
    print_notices(resolution.notices, Console(stderr=True, soft_wrap=True))


@app.command("run-config")
def print_run_config(*, context: ContextOption = None) -> None:
    """Print the run-config that Flower gets, as TOML."""
    resolution = _resolve(context)
    sys.stdout.write(render_run_config(run_config(resolution.settings)))
    print_notices(resolution.notices, Console(stderr=True, soft_wrap=True))


@app.command()
def docs(
    *,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write to this file instead of printing.")
    ] = None,
) -> None:
    """Print docs/variables.md, or write it to a file."""
    if output is None:
        sys.stdout.write(variables_page())
        return
    _write(output, variables_page())


@app.command()
def examples(
    *,
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to write.")] = Path(
        "examples/strategies"
    ),
) -> None:
    """Write an example context for each strategy."""
    for name, text in example_contexts().items():
        _write(output / name, text)
        sys.stdout.write(f"{output / name}\n")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StateError(
            f"{str(path)!r} cannot be written ({error.strerror}): expected a file in an existing folder; "
            "choose another file with --output."
        ) from None


def _resolve(context: Path | None, role: Role = Role.BOTH) -> Resolution:
    return resolve(os.environ, read_context(context) if context else None, role=role)


def _check_certificates(settings: Settings, role: Role) -> None:
    """Raise SettingsError if they cannot work on loopback, or at the address of FL_SUPERLINK_ADDRESS."""
    from oneflower.local_cluster.tls import check_certificates  # noqa: PLC0415 - most contexts hold none

    host = settings.superlink_address.rpartition(":")[0]
    hosts = [] if role is Role.SUPERNODE else [LOOPBACK, *([host] if host else [])]
    check_certificates(settings, hosts)


def _value(variable: Variable, resolution: Resolution) -> Value:
    return variable.masked(resolution.settings.value_of(variable))


def _as_json(variable: Variable, resolution: Resolution) -> dict[str, Any]:
    provenance = resolution.provenance[variable.name]
    text = provenance.given
    given = None if text is None else MASK if holds_private_key(text) else variable.masked(text)
    return {
        "value": _value(variable, resolution),
        "default": variable.default,
        "from": provenance.source.value,
        "given": given,
        "given_as": None if provenance.is_default else provenance.name,
        "raised_to": provenance.raised_to,
        "role": variable.role.value,
        "consumers": variable.consumers.labels,
    }


def _cell(variable: Variable, value: Value) -> str:
    text = as_text(value)
    is_long = isinstance(variable.kind, Text64) and text and not variable.secret
    return f"({len(text)} characters)" if is_long else text


def _as_row(variable: Variable, resolution: Resolution) -> tuple[str, str, str, str]:
    provenance = resolution.provenance[variable.name]
    alias = f" as {provenance.name}" if provenance.name != variable.name else ""
    raised = ", raised for the strategy" if provenance.raised_to is not None else ""
    return (
        variable.name,
        _cell(variable, _value(variable, resolution)),
        f"{provenance.source}{alias}{raised}",
        variable.default_text,
    )


def print_notices(notices: Iterable[Notice], console: Console) -> None:
    """Print the notices for the operator, one per line."""
    for notice in notices:
        style = "yellow" if notice.level == "warning" else "dim"
        console.print(f"{notice.level}: {notice.text}", style=style, markup=False, highlight=False)
