"""Who is in trouble: every client with how it stands, since when, and why it was left out."""

from collections import Counter
from collections.abc import Sequence

from oneflower.journal import TrainingState
from oneflower.journal.state.records import STRIP_ROUNDS, Client
from oneflower.monitor.html.markup import Html, code, el, join, moment, note, table
from oneflower.monitor.html.panel import EVERYWHERE, Panel
from oneflower.monitor.state.standing import SIGNS, TROUBLED, Standing, by_trouble
from oneflower.words import counted

# More healthy clients than this are folded away; those in trouble never are.
MOST_SHOWN = 12
HEADS = (
    "Client",
    "Now",
    "Last seen",
    "Joined",
    "Rounds",
    "Failed",
    "Quarantined",
    "Last reason",
    "Last rounds",
)

IN_LOOP = {"Rounds": "Exchanges", "Last rounds": "Last exchanges"}


def clients(view: TrainingState) -> Html:
    """Return the clients as a table, those in trouble first; many healthy ones are folded away."""
    stands = by_trouble(view)
    if not stands:
        return note("No client has answered yet.")
    here = [pair for pair in stands if pair[1] is not Standing.GONE]
    gone = stands[len(here) :]
    troubled = sum(stand in TROUBLED for _, stand in here)
    shown = here if len(here) <= MOST_SHOWN + 3 else here[: max(MOST_SHOWN, troubled)]
    return join(
        [
            _overview(stands),
            _table(view, shown) if shown else None,
            _folded(view, here[len(shown) :], "more"),
            _folded(view, gone, "of earlier starts, gone"),
        ]
    )


def _overview(stands: Sequence[tuple[Client, Standing]]) -> Html:
    found = Counter(stand for _, stand in stands)
    here = len(stands) - found[Standing.GONE]
    words = [f"{found[stand]} {stand}" for stand in Standing if found[stand] and stand is not Standing.GONE]
    return el(
        "p",
        f"{counted(here, 'client')}: {', '.join(words)}."
        if here
        else "No client has answered since the start.",
    )


def _folded(view: TrainingState, rest: Sequence[tuple[Client, Standing]], which: str) -> Html | None:
    if not rest:
        return None
    return el("details", el("summary", f"{len(rest)} {which}"), _table(view, rest))


def _table(view: TrainingState, stands: Sequence[tuple[Client, Standing]]) -> Html:
    rows = [_row(view, client, stand) for client, stand in stands]
    heads = HEADS if view.own_loop is None else tuple(IN_LOOP.get(head, head) for head in HEADS)
    return table("Clients", heads, rows, class_="clients")


def _row(view: TrainingState, client: Client, stand: Standing) -> tuple[Html | str, ...]:
    style = stand.name.lower().replace("_", "-")
    return (
        who(client),
        el("span", f"{SIGNS[stand]} {stand}", class_=f"stand {style}"),
        moment(client.last_seen) or "never",
        moment(client.joined),
        str(client.trained),
        str(client.failures) if client.failures else "",
        str(client.quarantines) if client.quarantines else "",
        el("span", client.last_reason, class_="reason") if client.last_reason else "",
        _strip(view, client),
    )


def who(client: Client) -> Html:
    """Return the name and the partition, with Flower's id for who looks closer; the id without a name."""
    if not client.label:
        return code(client.name)
    part = "" if client.partition is None else f" · partition {client.partition}"
    return el("span", code(client.label), part, title=f"Flower's id {client.name}")


def _strip(view: TrainingState, client: Client) -> Html:
    """Draw the last rounds of a client; neighbours that went alike are one bar."""
    last = view.own_loop.exchanges if view.own_loop else max(view.started_round, view.done)
    first = max(1, last - STRIP_ROUNDS + 1)
    bars: list[tuple[int, int, str]] = []
    for number in range(first, last + 1):
        outcome = client.rounds.get(number)
        if outcome and bars and bars[-1][2] == outcome and bars[-1][0] + bars[-1][1] == number:
            bars[-1] = (bars[-1][0], bars[-1][1] + 1, outcome)
        elif outcome:
            bars.append((number, 1, outcome))
    shapes = [
        el("rect", class_=f"bar {outcome}", x=start - first, y=0, width=length, height=10)
        for start, length, outcome in bars
    ]
    box = f"0 0 {max(last - first + 1, STRIP_ROUNDS // 2)} 10"
    found = Counter(client.rounds.values())
    words = ", ".join(f"{count} {outcome}" for outcome, count in found.items())
    return el(
        "svg", *shapes, class_="strip", viewBox=box, preserveAspectRatio="none", role="img", aria_label=words
    )


PANELS = (
    Panel(
        id="clients", heading="Clients", place=90, wide=EVERYWHERE, render=lambda shown: clients(shown.state)
    ),
)
