"""Write down what a training was set to and what it ran on, for its report."""

from collections.abc import Sequence
from pathlib import Path

from oneflower.flower.fab import Fab
from oneflower.journal import Journal, Owner
from oneflower.journal.events import SettingRow, SettingsUsed
from oneflower.procfs import this_process
from oneflower.settings import TABLE, Resolution, Settings
from oneflower.settings.variable import as_text
from oneflower.versions import environment

MASK = "********"


def setting_rows(resolution: Resolution, settings: Settings) -> list[SettingRow]:
    """List every variable with where it came from, secrets masked; ``settings`` are those that are used."""
    rows = []
    for variable in TABLE:
        value = getattr(settings, variable.field)
        provenance = resolution.provenance[variable.name]
        rows.append(
            SettingRow(
                variable=variable.name,
                value=MASK if variable.secret and value else as_text(value),
                source=f"{provenance.source}{', raised for the strategy' if provenance.raised_to else ''}",
            )
        )
    return rows


def app_row(fab: Fab) -> SettingRow:
    """Say which app is trained."""
    return SettingRow(variable="--app", value=f"{fab.id} {fab.version}", source="FL_USE_CASE or command line")


def write_settings_used(journal: Path, rows: Sequence[SettingRow]) -> None:
    """Append the event from which `oneflower report` and the page show the settings."""
    Journal(journal, owner=Owner(process=this_process())).append(
        SettingsUsed(settings=tuple(rows), environment=environment())
    )
