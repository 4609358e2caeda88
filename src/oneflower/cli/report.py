"""`oneflower report`: a training as one HTML file that opens anywhere, or as JSON."""

import json
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from oneflower.cli.sources import JournalOption, PathArgument, StateOption, read_training, source_of
from oneflower.errors import StateError
from oneflower.files import replace_file
from oneflower.monitor.export import full_document
from oneflower.monitor.html.report import render_report


class Format(StrEnum):
    """How the report is written."""

    HTML = "html"
    JSON = "json"


OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="FILE",
        help="Where to write; - prints. If not given, report.html beside the journal; JSON is printed.",
    ),
]


def report(
    path: PathArgument = None,
    *,
    state: StateOption = None,
    journal: JournalOption = None,
    form: Annotated[Format, typer.Option("--format", help="html or json.")] = Format.HTML,
    output: OutputOption = None,
) -> None:
    """Write the report of a training: curves, events, clients, checkpoints, settings.

    A training may be running; the report is of this moment. Every checkpoint's files are verified for it.
    """
    source = source_of(path, state, journal)
    view, safety = read_training(source)
    if form is Format.JSON:
        content, target = (
            json.dumps(full_document(view, datetime.now(UTC), safety), indent=2) + "\n",
            output or Path("-"),
        )
    else:
        content = render_report(view, safety=safety)
        target = output or source.journal.with_name("report.html")
    write(content, target)


def write(content: str, target: Path) -> None:
    """Write a file whole, or print for ``-``; StateError where it cannot be written."""
    if str(target) == "-":
        sys.stdout.write(content)
        return
    try:
        replace_file(target, content.encode(), mode=0o666)
    except OSError as error:
        raise StateError(
            f"{target} cannot be written ({error.strerror}): expected a file in an existing folder; "
            "choose another place with --output"
        ) from error
    sys.stdout.write(f"{target}\n")
