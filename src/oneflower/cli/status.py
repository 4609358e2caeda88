"""`oneflower status` and `oneflower logs`: a training as its journal tells it."""

import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from oneflower.cli.sources import (
    DEFAULT_STATE,
    JournalOption,
    StateOption,
    existing,
    journal_of,
)
from oneflower.journal import follow, read_patiently
from oneflower.monitor.following import Following
from oneflower.monitor.history import History, fold
from oneflower.monitor.lines import WARNINGS, describe
from oneflower.monitor.status import facts, lines

JOURNAL_VARIABLE = "ONEFLOWER_JOURNAL"
LABEL_WIDTH = 15
WATCH_EVERY_S = 1.0
STYLES = {"failed": "bold red", "waiting for": "yellow", "left out": "yellow", "": "yellow"}


def status(
    *,
    state: StateOption = DEFAULT_STATE,
    journal: JournalOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing it until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a training on one screen: how far it is, who takes part, what is saved, what it waits for.

    It only reads the journal, so it is safe to run at any time, beside a training or after one.
    """
    path = _journal(state, journal)
    if watch:
        _watch(path, as_json=as_json)
        return
    history = fold(read_patiently(existing(path)))
    if as_json:
        sys.stdout.write(_json(history, indent=2))
    else:
        Console().print(_screen(history), soft_wrap=True)


def logs(
    *,
    state: StateOption = DEFAULT_STATE,
    journal: JournalOption = None,
    following: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more, until Ctrl-C.")] = False,
    last: Annotated[
        int, typer.Option("--last", "-n", metavar="N", min=0, help="The newest N lines; 0 prints all.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the events as they are.")] = False,
) -> None:
    """Print what happened to a training, one line an event."""
    path = _journal(state, journal)
    known = list(_told(read_patiently(path if following else existing(path)), as_json=as_json))
    skipped = max(0, len(known) - last) if last else 0
    if not following:
        _print(known[skipped:])
        return
    _print(islice(_told(follow(path, threading.Event()), as_json=as_json), skipped, None))


def _print(told: Iterable[Text]) -> None:
    console = Console(highlight=False)
    for line in told:
        console.print(line, soft_wrap=True)


def _told(events: Iterable[dict[str, Any]], *, as_json: bool) -> Iterator[Text]:
    history = History()
    for event in events:
        own = history.take(event)
        if as_json:
            yield Text(json.dumps(event, ensure_ascii=True))
            continue
        line = describe(event, history)
        if line and not own:
            line = f"another run ({event.get('run')}): {line}"
        if line:
            style = "yellow" if event["event"] in WARNINGS else ""
            yield Text.assemble((f"{str(event.get('time', ''))[:19]} ", "dim"), (line, style))


def _watch(path: Path, *, as_json: bool) -> None:
    """Show it again and again; what the journal does not tell yet is waited for, not guessed."""
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


def _screen(history: History) -> Group:
    told = lines(history, datetime.now(UTC))
    return Group(
        *(
            Text.assemble((f"{label:<{LABEL_WIDTH}}", "dim"), (text, STYLES.get(label, "")))
            for label, text in told
        )
    )


def _json(history: History, indent: int | None = None) -> str:
    return json.dumps(facts(history, datetime.now(UTC)), indent=indent) + "\n"


def _journal(state: Path, journal: Path | None) -> Path:
    """Return the journal that was named, else that of this machine's SuperLink, else a state folder's."""
    named = os.environ.get(JOURNAL_VARIABLE)
    if journal is None and named and state == DEFAULT_STATE:
        return Path(named)
    return journal_of(state, journal)
