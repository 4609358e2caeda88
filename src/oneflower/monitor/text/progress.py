"""Show a training as it goes: a live display on a terminal, plain lines everywhere else."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from oneflower.foreign_text import printable
from oneflower.journal import Entry, TrainingState
from oneflower.journal import events as e
from oneflower.kinds import ErrorKind
from oneflower.monitor.text.lines import WARNINGS, describe
from oneflower.monitor.text.own_loop import exchanges_text
from oneflower.monitor.text.values import (
    duration,
    headline_of,
    metrics_text,
    saving_text,
    waiting_text,
)
from oneflower.words import counted, have

BAR_WIDTH = 40


class PlainProgress:
    """One line an event. ``quiet`` leaves only what needs attention."""

    def __init__(
        self,
        console: Console,
        *,
        quiet: bool = False,
        history: TrainingState | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.history = history or TrainingState()
        self._console = console
        self._quiet = quiet
        self._since = now()
        self._reason = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def event(self, entry: Entry) -> None:
        """Take an entry of the journal; those of earlier starts are remembered, not shown."""
        if not self.history.take(entry) or entry.time is None or entry.time < self._since:
            return
        line = describe(self._without_known_reason(entry), self.history)
        warns = type(entry.event) in WARNINGS
        if line and (warns or not self._quiet):
            self._print(f"{entry.time.astimezone():%H:%M:%S}  {line}", "yellow" if warns else "")

    def _without_known_reason(self, entry: Entry) -> Entry:
        """Return an entry without a reason that was shown just before: each state that follows repeats it.

        The reason of an end that is final is what the command itself ends with.
        """
        event = entry.event
        if isinstance(event, e.TrainingFailed) and event.reason and event.kind is ErrorKind.SETTINGS:
            self._reason = event.reason
            return entry._replace(event=replace(event, reason=""))
        if isinstance(event, e.SupervisorMoved | e.TrainingGaveUp) and event.reason:
            if self._reason and self._reason in event.reason:
                return entry._replace(event=replace(event, reason=""))
            self._reason = event.reason
        elif isinstance(event, e.TrainingFailed | e.AppFailed | e.RunLost):
            self._reason = event.reason or self._reason
        return entry

    def say(self, text: str, style: str = "") -> None:
        """Show one line of text."""
        if not self._quiet or style:
            self._print(printable(text), style)

    def _print(self, line: str, style: str) -> None:
        self._console.print(Text(line, style=style), soft_wrap=True)


class LiveProgress(PlainProgress):
    """The same lines, and beneath them a bar that always says where the training is."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def _render(self) -> RenderableType:
        return render(self.history)


def render(history: TrainingState) -> RenderableType:
    """Draw the state of a training in three lines."""
    if history.own_loop is not None:
        return Group(Text(exchanges_text(history.own_loop), style="bold"), Text(_now(history)))
    bar = Table.grid(padding=(0, 1))
    left_s = history.left_s()
    bar.add_row(
        Text(f"round {min(history.done + 1, history.total) or '-'} of {history.total or '-'}", style="bold"),
        ProgressBar(total=max(1, history.total), completed=history.done, width=BAR_WIDTH),
        Text(f"about {duration(left_s)} left" if left_s else ""),
    )
    return Group(bar, Text(_now(history)), Text(_so_far(history), style="dim"))


def _now(history: TrainingState) -> str:
    if history.waiting:
        return f"waiting: {waiting_text(history.waiting)}"
    if history.saving:
        return f"saving {saving_text(history.saving)}"
    if history.own_loop is not None:
        return "the app sends its messages by itself"
    if not history.started_round:
        return "waiting for the app to start"
    return f"{history.replies} of {counted(history.clients, 'client')} {have(history.clients)} answered"


def _so_far(history: TrainingState) -> str:
    parts = [metrics_text(headline_of(history, history.done))]
    if history.checkpoints:
        parts.append(f"last checkpoint: round {max(history.checkpoints)}")
    if history.left_out:
        parts.append(f"clients left out so far: {len(history.left_out)}")
    return ", ".join(filter(None, parts))
