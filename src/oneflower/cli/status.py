"""`oneflower status`: a training on one screen."""

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from oneflower.cli.sources import JournalOption, PathArgument, StateOption, read_state, source_of
from oneflower.journal import TrainingState
from oneflower.monitor.export import short_document
from oneflower.monitor.state.following import Following
from oneflower.monitor.text.status import lines

LABEL_WIDTH = 15
WATCH_EVERY_S = 1.0
STYLES = {"failed": "bold red", "waiting for": "yellow", "left out": "yellow", "": "yellow"}


def status(
    where: PathArgument = None,
    *,
    state: StateOption = None,
    journal: JournalOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing it until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a training on one screen: how far it is, who takes part, what is saved, what it waits for.

    It only reads, so it is safe to run at any time, beside a training or after one.
    """
    path = source_of(where, state, journal).journal
    if watch:
        _watch(path, as_json=as_json)
        return
    history = read_state(path)
    if as_json:
        sys.stdout.write(_json(history, indent=2))
    else:
        Console().print(_screen(history), soft_wrap=True)


def _watch(path: Path, *, as_json: bool) -> None:
    """Show it again and again; what the journal does not hold yet is waited for, not guessed."""
    console = Console()
    with Following(path) as following, Live(console=console, auto_refresh=False, screen=False) as live:
        while True:
            following.is_read()
            with following.lock:
                history = following.known()
                shown = _json(history) if as_json else _screen(history)
            if isinstance(shown, str):
                sys.stdout.write(shown)
                sys.stdout.flush()
            else:
                live.update(shown, refresh=True)
            time.sleep(WATCH_EVERY_S)


def _screen(history: TrainingState) -> Group:
    shown = lines(history, datetime.now(UTC))
    return Group(
        *(
            Text.assemble((f"{label:<{LABEL_WIDTH}}", "dim"), (text, STYLES.get(label, "")))
            for label, text in shown
        )
    )


def _json(history: TrainingState, indent: int | None = None) -> str:
    return json.dumps(short_document(history, datetime.now(UTC)), indent=indent) + "\n"
