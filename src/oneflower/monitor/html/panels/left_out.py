"""Every client that a round went on without, and why."""

from oneflower.journal import TrainingState
from oneflower.monitor.html.markup import Html, code, join, note, table
from oneflower.monitor.html.panel import EVERYWHERE, ON_REPORT, Panel
from oneflower.monitor.text.values import called

# A hostile client can be left out in every round of a long training; the journal holds them all.
MOST_LEFT_OUT = 200


def left_out(state: TrainingState) -> Html:
    """Return the newest of them as a table."""
    hidden = len(state.left_out) - MOST_LEFT_OUT
    rows = [
        (str(each.number), code(called(state, each.client)), each.outcome, each.reason)
        for each in state.left_out[-MOST_LEFT_OUT:]
    ]
    unit = "Round" if state.own_loop is None else "Exchange"
    shown = table("Clients left out", (unit, "Client", "How", "Reason"), rows)
    return join([note(f"{hidden} earlier ones are in the journal.") if hidden > 0 else None, shown])


PANELS = (
    Panel(
        id="left-out",
        heading="Clients left out",
        place=100,
        pages=ON_REPORT,
        wide=EVERYWHERE,
        render=lambda shown: left_out(shown.state),
    ),
)
