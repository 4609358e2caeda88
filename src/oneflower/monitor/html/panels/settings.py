"""With what it was trained: every setting with where it came from, and the machine's software."""

from collections.abc import Mapping, Sequence
from typing import Any

from oneflower.journal.events import SettingRow
from oneflower.monitor.html.markup import Html, code, el, join, note, table
from oneflower.monitor.html.panel import EVERYWHERE, Panel, Shown


def settings(rows: Sequence[SettingRow], environment: Mapping[str, Any]) -> Html:
    """Return the settings of a training, and the versions of the software that it runs on."""
    cells = [(code(row.variable), code(row.value), row.source) for row in rows]
    shown = (
        table("Settings", ("Variable", "Value", "From"), cells)
        if cells
        else note("The journal holds no settings.")
    )
    if not environment:
        return shown
    versions = [(str(name), str(value)) for name, value in environment.items()]
    return join([shown, el("h3", "Environment"), table("Environment", ("What", "Version"), versions)])


def _panel(shown: Shown) -> Html:
    return settings(shown.state.settings or shown.settings, shown.state.environment)


PANELS = (Panel(id="settings", heading="Settings", place=130, wide=EVERYWHERE, folded=True, render=_panel),)
