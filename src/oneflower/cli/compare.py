"""`oneflower compare`: several trainings in one picture and one table."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from oneflower.cli.report import write
from oneflower.cli.sources import read_training, source_of
from oneflower.errors import SettingsError
from oneflower.foreign_text import printable
from oneflower.journal import TrainingState
from oneflower.monitor.charts.figure import figure
from oneflower.monitor.html.comparison import HEADS, Result, cells, comparison_page, results

WIDE_ENOUGH = 200


class Format(StrEnum):
    """How the comparison is written."""

    TEXT = "text"
    HTML = "html"
    JSON = "json"
    SVG = "svg"


def compare(
    *,
    directories: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="State folders, or journals, of trainings.")
    ],
    form: Annotated[
        Format, typer.Option("--format", help="text: a table. html: curves and table. svg: the curves. json.")
    ] = Format.TEXT,
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="Where to write; - prints.")
    ] = Path("-"),
) -> None:
    """Compare trainings: strategies, mu, beta, anything that the settings change.

    Each is read from its journal, so a training that still runs may be among them.
    """
    trainings = {name: _read(path) for name, path in _names(directories).items()}
    if form is Format.HTML:
        write(comparison_page(trainings), output)
    elif form is Format.SVG:
        write(figure(trainings), output)
    elif form is Format.JSON:
        rows = [asdict(row) for row in results(trainings)]
        write(json.dumps({"trainings": rows}, indent=2) + "\n", output)
    else:
        write(_text(results(trainings)), output)


def _names(directories: Sequence[Path]) -> Mapping[str, Path]:
    """Call each training by its folder, with as much of the path as distinguishes them."""
    for length in range(1, 1 + max(len(path.absolute().parts) for path in directories)):
        names = ["/".join(path.absolute().parts[-length:]) for path in directories]
        if len(set(names)) == len(names):
            return dict(zip(names, directories, strict=True))
    raise SettingsError("a training was given twice: expected different folders to compare")


def _read(path: Path) -> TrainingState:
    return read_training(source_of(path, None, None), prove=False)[0]


def _text(rows: Sequence[Result]) -> str:
    table = Table(box=None, pad_edge=False)
    for head in HEADS:
        table.add_column(head, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in cells(row)))
    console = Console(width=None if sys.stdout.isatty() else WIDE_ENOUGH)
    with console.capture() as captured:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())
