"""Several trainings side by side: one picture a measure, one row a training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from oneflower.journal import TrainingState
from oneflower.monitor.charts.figure import picture
from oneflower.monitor.charts.picture import draw
from oneflower.monitor.html.document import card, document
from oneflower.monitor.html.markup import Html, el, join, table
from oneflower.monitor.html.report import POLICY
from oneflower.monitor.text.values import best_name, duration, headline_of, metric_text
from oneflower.quality import Family

HEADS: Final = (
    "Training",
    "Strategy",
    "Parameters",
    "Rounds",
    "Last",
    "Best",
    "In round",
    "Loss",
    "Time",
    "Left out",
    "Came back",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A training in one row. ``last`` and ``best`` are of the measure that ``measure`` names."""

    name: str
    strategy: str
    parameters: Mapping[str, Any]
    rounds: int
    measure: str
    last: float | None
    best: float | None
    best_round: int | None
    loss: float | None
    seconds: float
    left_out: int
    resumes: int


def results(trainings: Mapping[str, TrainingState]) -> list[Result]:
    """Return a row for each training, in the order given."""
    return [_result(name, view) for name, view in trainings.items()]


def comparison_page(trainings: Mapping[str, TrainingState]) -> str:
    """Return one HTML file with pictures and the table; it opens offline and runs no script."""
    families = (("accuracy", "Accuracy", Family.QUALITY), ("loss", "Loss", Family.LOSS))
    cards = [
        card(name, heading, draw(picture(trainings, family, f"{heading} by round")))
        for name, heading, family in families
    ]
    cards.append(card("results", "Results", result_table(results(trainings)), style="wide"))
    intro = el("h1", f"{len(trainings)} trainings compared")
    return document(
        title="oneflower comparison",
        content=join([el("div", intro, class_="intro"), el("div", *cards, class_="grid")]),
        head=POLICY,
        footer=Html("Written by oneflower from the trainings' journals."),
    )


def result_table(rows: Sequence[Result]) -> Html:
    """Return the rows as a table."""
    return table("Results", HEADS, [cells(row) for row in rows])


def cells(row: Result) -> tuple[str, ...]:
    """Return a row as texts, under `HEADS`."""
    return (
        row.name,
        row.strategy,
        ", ".join(f"{name} {value}" for name, value in row.parameters.items()),
        str(row.rounds),
        f"{row.measure} {metric_text(row.last)}" if row.last is not None else "",
        metric_text(row.best) if row.best is not None else "",
        str(row.best_round or ""),
        metric_text(row.loss) if row.loss is not None else "",
        duration(row.seconds),
        str(row.left_out),
        str(row.resumes),
    )


def _result(name: str, view: TrainingState) -> Result:
    last, best = headline_of(view, view.done), view.best()
    measured = view.rounds[view.done].metrics if view.rounds else {}
    return Result(
        name=name,
        strategy=view.strategy,
        parameters=view.parameters,
        rounds=view.done,
        measure=best_name(view, best.metric) if best else "",
        last=measured.get(best.metric) if best else None,
        best=best.value if best else None,
        best_round=best.round if best else None,
        loss=last.get("loss"),
        seconds=sum(result.seconds for result in view.rounds.values()),
        left_out=len(view.left_out),
        resumes=view.resumes,
    )
