"""How far each client's updates were from the new models: who is always far, who is never used."""

from collections.abc import Sequence
from math import isnan
from typing import Final

from oneflower.journal import TrainingState
from oneflower.journal.state import FAR, STRIP_ROUNDS, Course, courses
from oneflower.monitor.html.markup import Html, el, join, note, table
from oneflower.monitor.html.panel import EVERYWHERE, Panel
from oneflower.monitor.html.panels.clients import who
from oneflower.monitor.text.outliers import medians, remarks

MOST_SHOWN: Final = 12
"""Clients in the picture: the outliers first, then the farthest."""
BINS: Final = ((1.5, "usual"), (FAR, "wide"), (2 * FAR, "far"), (float("inf"), "farther"))
"""Below so many medians a cell has this style."""
WORDS: Final = {
    "usual": "below 1.5 medians",
    "wide": f"1.5 to {FAR:g}",
    "far": f"{FAR:g} to {2 * FAR:g}",
    "farther": f"{2 * FAR:g} and more",
    "unused": "not used by the rule",
}
HEADS: Final = ("Client", "Distance", "Change", "Weight", "Far", "Not used")


def updates(view: TrainingState) -> Html:
    """Return the clients with their distances as strips of colour, the most suspicious first."""
    found = courses(view)
    if not found:
        return note("No update has been measured yet.")
    shown = found[:MOST_SHOWN]
    last = max(max(each.client.measured) for each in found)
    rounds = range(max(1, last - STRIP_ROUNDS + 1), last + 1)
    rows = [_row(each, rounds) for each in shown]
    heads = (*HEADS, f"Rounds {rounds[0]} to {rounds[-1]}")
    return join(
        [el("p", _sentence(found)), table("Updates by client", heads, rows, class_="updates"), _legend(found)]
    )


def _sentence(found: Sequence[Course]) -> str:
    words = " ".join(f"{subject}." for subject in remarks(found)) or "No client stands out."
    words += " Distances and changes are in medians of their round."
    if len(found) > MOST_SHOWN:
        words += f" Shown are the {MOST_SHOWN} farthest of {len(found)}."
    return words


def _row(each: Course, rounds: range) -> tuple[Html | str, ...]:
    newest = each.client.measured[max(each.client.measured)]
    measured = max(len(each.ratios), len(each.unused))
    unused = f"{len(each.unused)} of {measured}" if each.unused else ""
    return (
        who(each.client),
        medians(each.last),
        medians(newest.change),
        "" if isnan(newest.weight) else f"{100 * newest.weight:.3g} %",
        _flagged(f"{each.far} of {each.measured}", flagged=each.is_far),
        _flagged(unused, flagged=each.is_never_used),
        _strip(each, rounds),
    )


def _flagged(words: str, *, flagged: bool) -> Html | str:
    return el("span", f"◆ {words}", class_="stand warn") if flagged else words


def _strip(each: Course, rounds: range) -> Html:
    """Draw one cell a round: a colour for the distance, and a bar below where the rule did not use it."""
    paths: dict[str, list[str]] = {}
    for number, ratio in each.ratios.items():
        if number not in rounds:
            continue
        style = next((style for most, style in BINS if ratio < most), BINS[-1][1])
        paths.setdefault(style, []).append(f"M{number - rounds.start} 0h.92v10h-.92z")
    for number in sorted(each.unused.intersection(rounds)):
        paths.setdefault("unused", []).append(f"M{number - rounds.start}.16 7h.6v2h-.6z")
    shapes = [el("path", class_=f"cell {style}", d="".join(path)) for style, path in paths.items()]
    counts = [f"{len(paths[style])} {words}" for style, words in WORDS.items() if style in paths]
    box = f"0 0 {max(len(rounds), STRIP_ROUNDS // 2)} 10"
    words = f"Rounds {rounds.start} to {rounds[-1]}: {', '.join(counts) or 'not measured'}"
    return el(
        "svg",
        *shapes,
        class_="strip heat",
        viewBox=box,
        preserveAspectRatio="none",
        role="img",
        aria_label=words,
    )


def _legend(found: Sequence[Course]) -> Html:
    """Name the colours; the bar where a rule has left updates unused."""
    names = [name for name in WORDS if name != "unused" or any(each.unused for each in found)]
    items = [el("li", el("i", class_=f"swatch cell {name}"), WORDS[name]) for name in names]
    return el("ul", *items, class_="legend")


PANELS = (
    Panel(
        id="updates", heading="Updates", place=95, wide=EVERYWHERE, render=lambda shown: updates(shown.state)
    ),
)
