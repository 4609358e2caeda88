"""With what it was trained: every setting with where it came from, and the machine's software."""

from oneflower.journal import TrainingState
from oneflower.monitor.html.markup import Html, code, el, join, note, table


def settings(view: TrainingState) -> Html:
    """Return the settings that whoever started the training wrote to the journal."""
    rows = [(code(row.variable), code(row.value), row.source) for row in view.settings]
    environment = [(str(name), str(value)) for name, value in view.environment.items()]
    shown = (
        table("Settings", ("Variable", "Value", "From"), rows) if rows else note("The journal does not tell.")
    )
    if not environment:
        return shown
    return join([shown, el("h3", "Environment"), table("Environment", ("What", "Version"), environment)])
