"""What the author of an app chose: the keys of oneflower that it declares and the operator did not set."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from oneflower.settings.rules import raise_minimums
from oneflower.settings.settings import Settings
from oneflower.settings.table import AUTHORS, OPERATOR_SET, TABLE
from oneflower.settings.values import Value

_ROWS: Final = tuple(row for row in TABLE if row.field in AUTHORS)


def with_the_authors(settings: Settings, own: Mapping[str, Value]) -> Settings:
    """Return the settings with the values that the author of an app chose where the operator chose none.

    `own` are the keys that the app declares, with their defaults. One that is no valid value of the variable
    is the app's own affair.
    """
    chosen: dict[str, Any] = {}
    for row in _ROWS:
        key = str(row.run_config_key)
        if key not in own or settings.is_set(row.name):
            continue
        try:
            chosen[row.field] = row.check(own[key])
        except ValueError:
            continue
    return raise_minimums(replace(settings, **chosen))[0] if chosen else settings


def with_the_authors_of(run_config: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run-config under plain names with the author's values, as `with_the_authors` does.

    A number of clients that FL_STRATEGY needs stays.
    """
    names = str(run_config.get(OPERATOR_SET, "")).split(",")
    merged = dict(run_config)
    for row in _ROWS:
        key = str(row.run_config_key)
        if key not in own or row.name in names:
            continue
        try:
            value = row.check(own[key])
        except ValueError:
            continue
        needed = key in merged and row.field.endswith("_clients") and "FL_STRATEGY" in names
        merged[key] = max(value, merged[key]) if needed else value
    return merged
