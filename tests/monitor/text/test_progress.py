"""Progress: only what is new is shown, warnings always, and the display draws at every stage."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from oneflower.journal import BrokenEvent, Entry, TrainingState, reduce
from oneflower.kinds import ErrorKind
from oneflower.monitor.text.progress import LiveProgress, PlainProgress, render

from ...making import entry

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
STARTED = entry("training_started", at=NOW, rounds=3, strategy="FedAvg")
WAITING = entry("waiting_for_clients", at=NOW, connected=1, needed=3)


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
    shown.event(STARTED._replace(time=NOW - timedelta(days=1)))
    assert output.getvalue() == ""
    assert shown.history.total == 3


def test_quiet_shows_warnings_only(output):
    shown = progress(output, quiet=True)
    shown.event(STARTED)
    shown.say("starting")
    shown.event(WAITING)
    assert output.getvalue().splitlines()[0].endswith("waiting for clients: 1 of 3 clients are connected")
    assert len(output.getvalue().splitlines()) == 1


def test_a_reason_is_shown_once_and_that_of_a_final_failure_by_the_command_itself(output):
    """The states of the supervisor repeat it, and the command ends with it."""
    shown = progress(output)
    final = {"reason": "not signed", "kind": ErrorKind.SETTINGS, "error": "ForeignError"}
    shown.event(entry("training_failed", at=NOW, **final))
    shown.event(entry("supervisor_state", at=NOW, state="given_up", reason="not signed"))
    assert "not signed" not in output.getvalue()
    assert len(output.getvalue().splitlines()) == 2
    shown.event(entry("app_failed", at=NOW, app="a", error="ValueError", reason="no column", where="a.py:1"))
    for state in ("lost", "backing_off", "waiting"):
        shown.event(entry("supervisor_state", at=NOW, state=state, reason="a ValueError: no column (a.py:1)"))
    assert output.getvalue().count("no column") == 1
    shown.event(entry("supervisor_state", at=NOW, state="lost", reason="another one"))
    assert "another one" in output.getvalue()


def test_long_lines_are_not_broken_in_a_pipe(output):
    progress(output).say("x" * 500)
    assert output.getvalue() == "x" * 500 + "\n"


def test_markup_of_others_is_text(output):
    progress(output).say("[red]not red[/red] \x1b[2J")
    assert output.getvalue() == "[red]not red[/red] \\x1b[2J\n"


def test_a_line_without_a_time_is_not_shown(output):
    shown = progress(output)
    shown.event(Entry(None, BrokenEvent(line="{", why="it is no JSON")))
    assert output.getvalue() == ""
    assert shown.history.broken == 1


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], "waiting for the app to start"),
        ([STARTED], "round 1 of 3"),
        ([STARTED, WAITING], "waiting: 1 of 3 clients are connected"),
        ([STARTED, entry("round_started", round=1, clients=3)], "0 of 3 clients have answered"),
        ([STARTED, entry("round_completed", round=1, seconds=2)], "about 4 s left"),
        ([STARTED, entry("checkpoint_saved", round=1)], "last checkpoint: round 1"),
    ],
)
def test_the_display_draws_every_stage(output, events, expected):
    Console(file=output, width=120).print(render(reduce(events)))
    assert expected in output.getvalue()


def test_the_live_display_starts_and_stops(output):
    with LiveProgress(Console(file=output, force_terminal=True, width=80)) as shown:
        shown.event(STARTED._replace(time=datetime(2100, 1, 1, tzinfo=UTC)))
    assert "training starts" in output.getvalue()
    assert isinstance(shown.history, TrainingState)
