"""The curves: loss, quality and clients over one axis of rounds, with what happened drawn into them."""

from collections.abc import Iterable

from oneflower.journal import TrainingState
from oneflower.journal.state.records import RoundResult
from oneflower.monitor.charts.attendance import draw_attendance
from oneflower.monitor.charts.marks import marks
from oneflower.monitor.charts.picture import Curves, Points, draw
from oneflower.monitor.charts.scale import last_round_drawn
from oneflower.monitor.html.markup import Html, note
from oneflower.monitor.html.panel import Panel
from oneflower.monitor.text.own_loop import NO_ROUNDS
from oneflower.quality import Family, Measure, family

# How the page calls the places where a metric was measured.
PLACES = {"central": "server", "evaluate": "clients", "train": "training"}
# What an app may call its loss and its accuracy; any other word is shown.
PLAIN_WORDS = {"loss", "train_loss", "eval_loss", "accuracy", "eval_acc", "acc"}


def accuracy(view: TrainingState) -> Html:
    """Draw what rises while a training goes well: accuracy, or the app's own measure of quality."""
    return note(NO_ROUNDS) if view.own_loop is not None else draw(_curves(view, Family.QUALITY, "Accuracy"))


def loss(view: TrainingState) -> Html:
    """Draw what falls while a training goes well."""
    return note(NO_ROUNDS) if view.own_loop is not None else draw(_curves(view, Family.LOSS, "Loss"))


def attendance(view: TrainingState) -> Html:
    """Draw the clients of each round, over the same rounds as the curves."""
    if view.own_loop is not None:
        return note(NO_ROUNDS)
    return draw_attendance(view, _curves(view, Family.QUALITY, "Accuracy"))


def places(names: Iterable[Measure]) -> dict[Measure, str]:
    """Return what the page calls each metric: ``server``, or ``server: roc_auc`` where the word says more."""
    labels: dict[Measure, str] = {}
    for name in names:
        origin, metric = name
        plain = metric in PLAIN_WORDS and PLACES[origin] not in labels.values()
        labels[name] = PLACES[origin] if plain else f"{PLACES[origin]}: {metric}"
    return labels


def _curves(view: TrainingState, wanted: Family, name: str) -> Curves:
    results = [view.rounds[number] for number in sorted(view.rounds)]
    labels = places(each for each in view.measures() if family(each) == wanted)
    numbers = [result.number for result in (*results, *view.undone)]
    return Curves(
        title=f"{name} by round",
        lines={label: _points(results, each) for each, label in labels.items()},
        lost={
            label: [_points(piece, each) for piece in _pieces(view.undone)] for each, label in labels.items()
        },
        marks=marks(view),
        first=min(numbers, default=1),
        last=last_round_drawn(max(numbers, default=0), view.total),
    )


def _points(results: Iterable[RoundResult], name: Measure) -> Points:
    return [(result.number, result.metrics[name]) for result in results if name in result.metrics]


def _pieces(undone: Iterable[RoundResult]) -> list[list[RoundResult]]:
    """Take apart what was lost at different times: a round number that does not grow begins a new piece."""
    pieces: list[list[RoundResult]] = []
    for result in undone:
        if not pieces or result.number != pieces[-1][-1].number + 1:
            pieces.append([])
        pieces[-1].append(result)
    return pieces


PANELS = (
    Panel(id="accuracy", heading="Accuracy", place=40, render=lambda shown: accuracy(shown.state)),
    Panel(id="loss", heading="Loss", place=50, render=lambda shown: loss(shown.state)),
    Panel(
        id="attendance",
        heading="Clients in each round",
        place=60,
        render=lambda shown: attendance(shown.state),
    ),
)
