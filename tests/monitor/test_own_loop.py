"""An app with a loop of its own: every screen says what happened, and nothing of rounds."""

from datetime import UTC, datetime

import pytest
from rich.console import Console

from oneflower.codes import LeftOutCode, Phase
from oneflower.journal import reduce
from oneflower.monitor.export import full_document
from oneflower.monitor.html.page import render
from oneflower.monitor.html.report import render_report
from oneflower.monitor.state.safety import from_journal
from oneflower.monitor.state.standing import Standing, standing
from oneflower.monitor.text.progress import render as bar
from oneflower.monitor.text.status import lines

from ..making import entry

TIME = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)


def exchange(number, *clients, **lost):
    messages = len(clients) + sum(lost.values())
    return entry(
        "exchange_completed",
        at=TIME,
        exchange=number,
        kind="train",
        messages=messages,
        replies=len(clients),
        size_bytes=500 * number,
        clients=clients,
        **lost,
    )


BEGUN = entry("loop_started", at=TIME, app="me/loop", recorded=0, path="/s/exchanges")
RUNS = [
    BEGUN,
    entry("client_named", at=TIME, client="1000", name="node-0", partition=0),
    entry("client_named", at=TIME, client="1001", name="node-1", partition=1),
    exchange(1, "1000", "1001"),
    entry("client_quarantined", at=TIME, round=2, client="1001", code=LeftOutCode.OTHER, reason="not finite"),
    exchange(2, "1000", quarantined=1),
]
ENDED = [
    *RUNS,
    entry("loop_finished", at=TIME, app="me/loop", exchanges=2, replies=3, quarantined=1),
    entry("supervisor_state", at=TIME, state="finished", reason=""),
]
AGAIN = [entry("loop_started", at=LATER, app="me/loop", recorded=4, path="/s/exchanges")]
FALSE = (
    "0 rounds",
    "of -",
    "has not finished",
    "No round is done",
    "FL_NUM_ROUNDS",
    "No client has answered",
    "earlier starts",
    "never",
    "from round 1",
    "not reported by the app",
)


def screens(view):
    safety = from_journal(view)
    page = render(view, safety, LATER, "1")
    console = Console(width=300)
    with console.capture() as captured:
        console.print(bar(view))
    return {
        "report": render_report(view, safety=safety),
        "page": "".join(map(str, page.sections.values())),
        "status": "\n".join(f"{label} {text}" for label, text in lines(view, LATER)),
        "bar": captured.get(),
    }


@pytest.mark.parametrize(
    "events", [RUNS, ENDED, [*ENDED, *AGAIN], [*RUNS, entry("training_interrupted", at=TIME)]]
)
@pytest.mark.parametrize("screen", ["report", "page", "status", "bar"])
def test_no_screen_speaks_of_rounds(events, screen):
    shown = screens(reduce(events))[screen]
    assert not [words for words in FALSE if words in shown]
    assert "2 exchanges" in shown or "2 of the app's own loop" in shown


@pytest.mark.parametrize("screen", ["report", "page", "status"])
def test_the_end_says_what_happened_and_where_the_model_and_the_recording_are(screen):
    shown = screens(reduce(ENDED))[screen]
    assert "4 messages" in shown
    assert "3 replies" in shown
    assert "1 quarantined" in shown
    assert "where the app keeps it" in shown
    assert "/s/exchanges" in shown


def test_without_a_recording_a_crash_costs_all():
    view = reduce([entry("loop_started", at=TIME, app="me/loop"), *RUNS[1:]])
    assert "a crash starts the app from the beginning" in screens(view)["report"]


@pytest.mark.parametrize("more", [[], AGAIN])
def test_a_client_stands_as_it_answered_last_also_where_its_replies_are_given_again(more):
    view = reduce([*ENDED, *more])
    stands = {name: standing(view, client) for name, client in view.roster.items()}
    assert stands == {"1000": Standing.ANSWERED, "1001": Standing.QUARANTINED}
    assert view.roster["1000"].trained == 2
    assert view.roster["1000"].last_seen == TIME


def test_a_journal_of_before_names_no_clients_of_an_exchange_and_they_are_here():
    view = reduce([BEGUN, RUNS[1], entry("exchange_completed", at=TIME, exchange=1, messages=1, replies=1)])
    assert standing(view, view.roster["1000"]) is Standing.ANSWERED


def test_programs_read_the_exchanges():
    loop = full_document(reduce(ENDED), LATER)["training"]["own_loop"]
    assert (loop["exchanges"], loop["replies"], loop["quarantined"], loop["finished"]) == (2, 3, 1, True)


def test_rounds_after_messages_of_the_apps_own_are_a_training_in_rounds():
    began = entry("training_started", at=TIME, round=0, rounds=9, strategy="FedAvg", app="a")
    view = reduce([*RUNS, began])
    assert view.own_loop is None
    assert view.phase is Phase.STARTING
