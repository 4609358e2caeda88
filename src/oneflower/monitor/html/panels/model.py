"""The final model: its round, its digest and its file."""

from oneflower.journal import TrainingState
from oneflower.monitor.html.markup import Html, code, note, table
from oneflower.monitor.html.panel import ON_REPORT, Panel
from oneflower.monitor.text.own_loop import MODEL
from oneflower.monitor.text.values import NOT_KEPT, ending


def model(state: TrainingState) -> Html:
    """Return what is known of the final model, or why there is none."""
    finish = state.finish
    if finish is None and state.own_loop is not None and not state.failure:
        return note(f"The model is {MODEL}.")
    if finish is None:
        return note(state.failure.words if state.failure else "The training has not finished.")
    rows = [("Round", ending(finish))]
    rows += [("SHA-256 of the model", code(finish.sha256 or "not reported"))]
    rows += [("File", code(finish.path or NOT_KEPT))]
    if finish.path in state.lost_files:
        rows += [("", "It is not there any more.")]
    return table("Final model", ("What", "Value"), rows)


PANELS = (
    Panel(
        id="model", heading="Final model", place=70, pages=ON_REPORT, render=lambda shown: model(shown.state)
    ),
)
