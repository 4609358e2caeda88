"""Flower's run-config: the settings that travel to the ServerApp, and their TOML."""

import json
import re
from collections.abc import Mapping
from types import MappingProxyType

from oneflower.errors import SettingsError
from oneflower.settings.settings import Settings
from oneflower.settings.table import RUN_CONFIG_VARIABLES
from oneflower.settings.use_cases import NO_USE_CASE
from oneflower.settings.variable import Value, Variable

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

APP_CONFIG_KEYS: Mapping[str, Value] = MappingProxyType(
    {key: variable.default for key, variable in RUN_CONFIG_VARIABLES.items()}
)
"""Every key with its default. Flower refuses a run with a key that the app's pyproject does not declare."""


def run_config(settings: Settings) -> dict[str, Value]:
    """Return the run-config of a training, strategy parameters of the selected strategy only.

    What one pre-built app reads goes to that app, and to an app of the operator's own where it was set: the
    default must not replace what such an app declares itself.
    """
    return {
        key: getattr(settings, variable.field)
        for key, variable in RUN_CONFIG_VARIABLES.items()
        if (not variable.strategies or settings.strategy in variable.strategies)
        and (not variable.use_cases or _is_for_app(variable, settings))
    }


def _is_for_app(variable: Variable, settings: Settings) -> bool:
    if settings.use_case == NO_USE_CASE:
        return bool(getattr(settings, variable.field) != variable.default)
    return settings.use_case in variable.use_cases


def render_run_config(mapping: Mapping[str, Value]) -> str:
    """Write `mapping` as TOML, one key a line.

    Raises
    ------
    SettingsError
        For text that no TOML file can hold: bytes that were not UTF-8.
    """
    return "".join(f"{_key(key)} = {_value(value)}\n" for key, value in mapping.items())


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _string(key)


def _value(value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _string(value)
        case int() | float():
            return repr(value)


def _string(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SettingsError(
            f"The text {text!r} holds bytes that are not UTF-8: expected text that TOML can hold; "
            "write it anew in UTF-8."
        ) from None
    # JSON's escapes are TOML's, except that TOML wants DEL escaped too.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
