"""Progress: only what is new is shown, warnings always, and the display draws at every stage."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from oneflower.monitor.history import History, fold
from oneflower.monitor.progress import LiveProgress, PlainProgress, render

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
STARTED = {"event": "training_started", "time": NOW.isoformat(), "rounds": 3, "strategy": "FedAvg"}
WAITING = {"event": "waiting_for_clients", "time": NOW.isoformat(), "connected": 1, "needed": 3}


@pytest.fixture
def output():
    return io.StringIO()


def progress(output, **options):
    return PlainProgress(Console(file=output, width=80), now=lambda: NOW, **options)


def test_new_events_are_lines(output):
    with progress(output) as shown:
        shown.event(STARTED)
        shown.say("starting")
    lines = output.getvalue().splitlines()
    assert lines[0].endswith("training starts: FedAvg, 3 rounds")
    assert lines[1] == "starting"


def test_events_of_an_earlier_start_are_remembered_not_shown(output):
    shown = progress(output)
    shown.event({**STARTED, "time": "2025-12-31T00:00:00+00:00"})
    assert output.getvalue() == ""
    assert shown.history.total == 3


def test_quiet_shows_warnings_only(output):
    shown = progress(output, quiet=True)
    shown.event(STARTED)
    shown.say("starting")
    shown.event(WAITING)
    assert output.getvalue().splitlines()[0].endswith("waiting for clients: 1 of 3 are connected")
    assert len(output.getvalue().splitlines()) == 1


def test_long_lines_are_not_broken_in_a_pipe(output):
    progress(output).say("x" * 500)
    assert output.getvalue() == "x" * 500 + "\n"


def test_markup_of_others_is_text(output):
    progress(output).say("[red]not red[/red] \x1b[2J")
    assert output.getvalue() == "[red]not red[/red] \\x1b[2J\n"


def test_a_time_that_is_no_time_is_not_shown(output):
    shown = progress(output)
    shown.event({"event": "round_started", "time": "never", "round": 1})
    shown.event({"event": "round_started", "round": 1})
    assert output.getvalue() == ""


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], "waiting for the app to start"),
        ([STARTED], "round 1 of 3"),
        ([STARTED, WAITING], "waiting: 1 of 3 clients are connected"),
        ([STARTED, {"event": "round_started", "round": 1, "clients": 3}], "0 of 3 clients have answered"),
        ([STARTED, {"event": "round_completed", "round": 1, "seconds": 2}], "about 4 s left"),
        ([STARTED, {"event": "checkpoint_saved", "round": 1}], "last checkpoint: round 1"),
    ],
)
def test_the_display_draws_every_stage(output, events, expected):
    Console(file=output, width=120).print(render(fold(events)))
    assert expected in output.getvalue()


def test_the_live_display_starts_and_stops(output):
    with LiveProgress(Console(file=output, force_terminal=True, width=80)) as shown:
        shown.event({**STARTED, "time": "2100-01-01T00:00:00+00:00"})
    assert "training starts" in output.getvalue()
    assert isinstance(shown.history, History)
