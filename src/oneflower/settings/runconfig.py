"""Flower's run-config: written from the settings, read by the ServerApp, compared on a resume."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from oneflower.errors import SettingsError
from oneflower.settings.namespace import key_in, without_namespace
from oneflower.settings.settings import Settings
from oneflower.settings.strategy_rows import APP_STRATEGY, rule_of
from oneflower.settings.table import APP_CONFIG_KEYS, BY_KEY, BY_NAME, OPERATOR_SET, key_of, keys_of
from oneflower.settings.training import TrainingConfig
from oneflower.settings.use_cases import NO_USE_CASE
from oneflower.settings.values import Value
from oneflower.settings.variable import Effect, Variable

STRATEGY: Final = key_of("strategy")
_PROXIMAL: Final = key_of("proximal_term")
ROUNDS: Final = key_of("num_rounds")
RESUME: Final = key_of("resume")
OPERATIONAL: Final = keys_of(Effect.OPERATION) | {OPERATOR_SET}
"""They say how a training is run and kept; none of them changes the model or its end."""
ENDING: Final = keys_of(Effect.ENDING)
"""They say when it ends, and which round is the best; the model of each round is the same."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def run_config(settings: Settings) -> dict[str, Value]:
    """Return the run-config of a training, strategy parameters of the selected strategy only.

    A variable of one pre-built app goes to that app, and to an app of the operator's own where it is set: the
    default must not replace what such an app declares itself.
    """
    values = {
        key: settings.value_of(row)
        for key, row in BY_KEY.items()
        if (not row.strategies or settings.strategy in row.strategies)
        and (not row.use_cases or _is_for_app(row, settings))
    }
    return {**values, OPERATOR_SET: ",".join(sorted(settings.operator_set))}


def _is_for_app(row: Variable, settings: Settings) -> bool:
    if settings.use_case == NO_USE_CASE:
        return settings.value_of(row) != row.default
    return settings.use_case in row.use_cases


def training_config(run_config: Mapping[str, object]) -> TrainingConfig:
    """Parse Flower's run-config; a key that is missing takes its default, and an app's own keys are ignored.

    Keys in oneflower's table hold before those of plain names.

    Raises
    ------
    SettingsError
        Naming every key whose value has the wrong type or is out of bounds.
    """
    fields: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    problems: list[str] = []
    for key, row in BY_KEY.items():
        name = key_in(run_config, key)
        value = run_config.get(name, row.default)
        try:
            (parameters if row.strategies else fields)[row.field] = row.check(value)
        except ValueError as error:
            problems.append(
                f"run-config key {name} ({row.name}) is {value!r}: {error}; "
                f"expected {row.accepted}; the default is {row.default!r}"
            )
    if problems:
        raise SettingsError("\n".join(["The run-config of the training is wrong.", *problems]))
    return TrainingConfig(**fields, parameters=parameters, operator_set=_operator_set(run_config))


def _operator_set(run_config: Mapping[str, object]) -> frozenset[str]:
    """Return the names in OPERATOR_SET; none for an app that oneflower did not pack."""
    names = str(run_config.get(key_in(run_config, OPERATOR_SET), "")).split(",")
    return frozenset(names) & BY_NAME.keys()


def missing_keys(run_config: Mapping[str, object]) -> dict[str, Value]:
    """Return oneflower's keys that a run-config lacks, with the defaults that are used instead."""
    return {key: row.default for key, row in BY_KEY.items() if key_in(run_config, key) not in run_config}


def _shown(value: object) -> object:
    return "not set" if value is None else "empty" if value == "" else value


@dataclass(frozen=True, slots=True)
class Change:
    """A value that is not what it was."""

    key: str
    before: object
    now: object

    def __str__(self) -> str:
        return f"{self.key} was {_shown(self.before)}, is {_shown(self.now)}"


def without_operational(run_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the model, and when the training ends, under plain names."""
    return {key: value for key, value in without_namespace(run_config).items() if key not in OPERATIONAL}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """List the keys whose values differ, in the order of their names.

    A key of oneflower's that one side lacks has its default there: a release without the variable trained as
    the default does, and an app that oneflower did not pack gets it. Any other missing key is None. A release
    without FL_STRATEGY=app had FedAvg where now `app` is.
    """
    # Earlier releases had no settings of how a training ends: what they wrote says nothing of it.
    keys = sorted({*before, *now} - (ENDING - {*before}))
    sides = ([side.get(key, APP_CONFIG_KEYS.get(key)) for key in keys] for side in (before, now))
    changes = [Change(key, old, new) for key, old, new in zip(keys, *sides, strict=True) if old != new]
    return [change for change in changes if _PROXIMAL in before or not _is_renamed(change)]


def _is_renamed(change: Change) -> bool:
    return change.key == STRATEGY and change.now == APP_STRATEGY and change.before == rule_of(APP_STRATEGY)


def render_run_config(mapping: Mapping[str, Value]) -> str:
    """Write `mapping` as TOML, one key a line.

    Raises
    ------
    SettingsError
        For text that no TOML file can hold: bytes that are not UTF-8.
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
            f"The text {text!r} contains bytes that are not UTF-8: expected text that TOML can hold; "
            "write it in UTF-8."
        ) from None
    # JSON's escapes are TOML's, except that TOML wants DEL escaped too.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
