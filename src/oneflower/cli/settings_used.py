"""Write down what a training was set to and what it ran on, for its report."""

from collections.abc import Sequence
from pathlib import Path

from oneflower.flower.fab import Fab
from oneflower.journal import Journal, Owner
from oneflower.journal.events import SettingRow, SettingsUsed
from oneflower.procfs import this_process
from oneflower.settings import TABLE, Resolution, Settings, as_text
from oneflower.versions import environment


def setting_rows(resolution: Resolution, settings: Settings) -> list[SettingRow]:
    """List every variable with its source, secrets masked; ``settings`` are those in use."""
    rows = []
    for variable in TABLE:
        provenance = resolution.provenance[variable.name]
        rows.append(
            SettingRow(
                variable=variable.name,
                value=as_text(variable.masked(settings.value_of(variable))),
                source=f"{provenance.source}{', raised for the strategy' if provenance.raised_to else ''}",
            )
        )
    return rows


def app_row(fab: Fab, source: str = "FL_USE_CASE or command line") -> SettingRow:
    """Say which app is trained."""
    return SettingRow(variable="--app", value=f"{fab.id} {fab.version}", source=source)


def write_settings_used(journal: Path, rows: Sequence[SettingRow]) -> None:
    """Append the event from which `oneflower report` and the page show the settings."""
    Journal(journal, owner=Owner(process=this_process())).append(
        SettingsUsed(settings=tuple(rows), environment=environment())
    )
