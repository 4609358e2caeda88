"""Write down what a training was set to and what it ran on, for its report."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from oneflower.flower.fab import Fab
from oneflower.journal import Journal, Owner
from oneflower.journal.events import SettingRow, SettingsUsed
from oneflower.procfs import this_process
from oneflower.settings import AUTHORS, TABLE, Resolution, Settings, Value, Variable, as_text
from oneflower.versions import environment


def setting_rows(resolution: Resolution, settings: Settings) -> list[SettingRow]:
    """List every variable with its source, secrets masked; ``settings`` are those in use."""
    return [
        SettingRow(
            variable=variable.name,
            value=as_text(variable.masked(settings.value_of(variable))),
            source=_source(variable, resolution, settings),
        )
        for variable in TABLE
    ]


def _source(variable: Variable, resolution: Resolution, settings: Settings) -> str:
    provenance = resolution.provenance[variable.name]
    is_the_authors = settings.value_of(variable) != resolution.settings.value_of(variable)
    if variable.field in AUTHORS and provenance.is_default and is_the_authors:
        return "the app's pyproject.toml"
    return f"{provenance.source}{', raised for the strategy' if provenance.raised_to else ''}"


def app_row(fab: Fab, source: str = "FL_USE_CASE or command line") -> SettingRow:
    """Say which app is trained."""
    return SettingRow(variable="--app", value=f"{fab.id} {fab.version}", source=source)


def app_config_rows(values: Mapping[str, Value]) -> list[SettingRow]:
    """List the keys of the app's own that the operator set."""
    return [
        SettingRow(variable=f"app: {key}", value=as_text(value), source="FL_APP_CONFIG or --run-config")
        for key, value in values.items()
    ]


def write_settings_used(journal: Path, rows: Sequence[SettingRow]) -> None:
    """Append the event from which `oneflower report` and the page show the settings."""
    Journal(journal, owner=Owner(process=this_process())).append(
        SettingsUsed(settings=tuple(rows), environment=environment())
    )
