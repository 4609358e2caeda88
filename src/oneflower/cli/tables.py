"""Print tables to a terminal or a pipe."""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from oneflower.foreign_text import shown

_WIDE_ENOUGH = 100_000
_LONGEST_CELL = 10_000


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: folded on a terminal, one line per row in a pipe. Cells are cut and escaped."""
    is_terminal = sys.stdout.isatty()
    console = Console() if is_terminal else Console(width=_WIDE_ENOUGH)
    table = Table(box=None, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=not is_terminal)
    for row in rows:
        table.add_row(*(Text(shown(cell, _LONGEST_CELL)) for cell in row))
    if is_terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())
