"""`oneflower logs`: what happened to a training, and what its processes wrote."""

import difflib
import io
import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import click
import typer
from rich.console import Console
from rich.text import Text

from oneflower.cli.sources import JournalOption, PathArgument, StateOption, existing, source_of
from oneflower.errors import SettingsError, StateError
from oneflower.files import open_to_read
from oneflower.foreign_text import printable
from oneflower.journal import BrokenEvent, Entry, TrainingState, UnknownEvent, follow, read_patiently
from oneflower.journal.codec import record_of
from oneflower.monitor.text.lines import WARNINGS, describe

POLL_S: Final = 0.2


def logs(  # noqa: PLR0913 - one parameter an option
    where: PathArgument = None,
    *,
    state: StateOption = None,
    journal: JournalOption = None,
    process: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default=False,
            help="The log of one process of `oneflower up` instead: superlink, supernode-0, ...",
        ),
    ] = None,
    following: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more, until Ctrl-C.")] = False,
    last: Annotated[
        int, typer.Option("--last", "-n", metavar="N", min=0, help="The newest N lines; 0 prints all.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the events as they are.")] = False,
) -> None:
    """Print what happened to a training, one line an event, or the log of one of its processes."""
    source = source_of(where, state, journal)
    if process is not None:
        if as_json:
            raise SettingsError("--json prints events, and --process lines of text: give one of them")
        _print_process(source.logs, process, last=last, following=following)
        return
    path = source.journal
    known = list(_lines_of(read_patiently(path if following else existing(path)), as_json=as_json))
    skipped = max(0, len(known) - last) if last else 0
    if not following:
        _print(known[skipped:])
        return
    _print(islice(_lines_of(follow(path, threading.Event()), as_json=as_json), skipped, None))


def _print(printed: Iterable[Text]) -> None:
    console = Console(highlight=False)
    for line in printed:
        console.print(line, soft_wrap=True)


def _lines_of(entries: Iterable[Entry], *, as_json: bool) -> Iterator[Text]:
    state = TrainingState()
    for entry in entries:
        own = state.take(entry)
        if as_json:
            yield Text(json.dumps(_record(entry), ensure_ascii=True))
            continue
        line = describe(entry, state)
        if line and not own:
            line = f"another run ({entry.run}): {line}"
        if line:
            style = "yellow" if type(entry.event) in WARNINGS else ""
            when = f"{entry.time:%Y-%m-%dT%H:%M:%S} " if entry.time else ""
            yield Text.assemble((when, "dim"), (line, style))


def _record(entry: Entry) -> Mapping[str, Any]:
    """Return a line's JSON object; of a line that cannot be read, why."""
    match entry.event:
        case UnknownEvent(fields=fields):
            return fields
        case BrokenEvent(line=line, why=why, lines=lines):
            return {"event": "broken", "why": why, "line": line, **({"lines": lines} if lines > 1 else {})}
    return record_of(entry)


def _print_process(folder: Path, name: str, *, last: int, following: bool) -> None:
    """Print the log of a process, that of its previous start first."""
    log = folder / f"{name}.log"
    starts = [log.with_suffix(".log.1"), log]
    if log not in (found := sorted(folder.glob("*.log"))):
        raise StateError(_no_log(folder, name, [each.stem for each in found]))
    lines: Iterable[str] = (line for each in starts for line in _lines(each))
    if last:
        lines = deque(lines, maxlen=last)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    if following:
        for line in _later_lines(log):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


def _no_log(folder: Path, name: str, names: list[str]) -> str:
    if not names:
        return (
            f"there are no process logs in {folder}: `oneflower up` writes them into its state folder. "
            "On a VM of OpenNebula read `journalctl -u flower-superlink` or `journalctl -u flower-supernode`"
        )
    near = difflib.get_close_matches(name, names, n=1)
    guess = f" Did you mean {near[0]}?" if near else ""
    return f"{folder} has no log of a process {name!r}: expected one of {', '.join(names)}.{guess}"


def _lines(log: Path) -> Iterator[str]:
    """Yield the lines of a log, without what would move a terminal's cursor; none where it is not there."""
    try:
        with _opened(log) as opened:
            for line in opened:
                yield _plain(line)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StateError(f"{log} cannot be read: {error.strerror}") from error


def _opened(log: Path) -> io.TextIOWrapper:
    """Open a log; a named pipe in its place is no log, and would be waited for."""
    return io.TextIOWrapper(open_to_read(log, follow=False), encoding="utf-8", errors="replace")


def _plain(line: str) -> str:
    return printable(click.unstyle(line.rstrip("\n")).expandtabs())


def _later_lines(log: Path) -> Iterator[str]:
    """Yield each line that is written from now on, also after the process was started again."""
    opened = _opened(log)
    opened.seek(0, 2)
    while True:
        for line in opened:
            yield _plain(line)
        descriptor = opened.fileno()
        if os.fstat(descriptor).st_size < os.lseek(descriptor, 0, os.SEEK_CUR):
            opened.seek(0)  # `oneflower up` has cut it
        if log.exists() and not log.samefile(f"/proc/self/fd/{opened.fileno()}"):
            opened.close()
            opened = _opened(log)
        time.sleep(POLL_S)
