"""Values for the run-config keys that an app declares itself, checked against what it declares."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from oneflower.errors import SettingsError
from oneflower.settings.app_config import APP_CONFIG, app_pairs
from oneflower.settings.table import BY_KEY, NAMESPACE, OPERATOR_SET
from oneflower.settings.values import Value

_WORDS: Mapping[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenKey:
    """A key of the app's own, its value, and where the operator gave it."""

    key: str
    value: Value
    source: str


def keys_of_texts(app_config: str, options: Iterable[str] = ()) -> list[GivenKey]:
    """Return the keys in FL_APP_CONFIG, and after them those of `--run-config`.

    Raises
    ------
    SettingsError
        A text is neither pairs nor TOML.
    """
    found = []
    for source, text in [("FL_APP_CONFIG", app_config), *(("--run-config", each) for each in options)]:
        try:
            pairs = app_pairs(text)
        except ValueError as error:
            raise SettingsError(
                f"{source} is {text!r}: {error}; expected {APP_CONFIG.expected}; write for example "
                f"{APP_CONFIG.example}"
            ) from error
        found += [GivenKey(key=key, value=value, source=source) for key, value in pairs.items()]
    return found


def app_values(given: Iterable[GivenKey], own: Mapping[str, Value]) -> dict[str, Value]:
    """Return the values for an app that declares the keys `own`, with their defaults; the last one holds.

    Raises
    ------
    SettingsError
        Listing every key that the app does not declare, that is a setting of oneflower, or whose value is
        not of the declared type.
    """
    values: dict[str, Value] = {}
    problems: list[str] = []
    for each in given:
        reason = _problem(each, own)
        if reason:
            problems.append(f"{len(problems) + 1}. {each.source} sets {each.key}: {reason}")
        else:
            is_float = isinstance(own[each.key], float)
            values[each.key] = float(each.value) if is_float else each.value
    if problems:
        raise SettingsError("\n".join(["Settings of the app are wrong; nothing was started.", *problems]))
    return values


def _problem(given: GivenKey, own: Mapping[str, Value]) -> str:
    plain = given.key.removeprefix(f"{NAMESPACE}.")
    if plain in BY_KEY:
        return f"that is a setting of oneflower; set {BY_KEY[plain].name} instead"
    if plain == OPERATOR_SET or plain != given.key:
        return "that key belongs to oneflower; leave it out"
    if given.key not in own:
        return _unknown(given.key, own)
    wanted, value = type(own[given.key]), given.value
    if type(value) is wanted or (wanted is float and type(value) is int):
        return ""
    quotes = f"; write {given.key}='\"{value}\"'" if wanted is str else ""
    return (
        f"its value {value!r} is {_WORDS[type(value)]}; expected {_WORDS[wanted]}, as in the app's default "
        f"{own[given.key]!r}{quotes}"
    )


def _unknown(key: str, own: Mapping[str, Value]) -> str:
    """Name the nearest keys: for a long list of keys nobody finds the one that was meant."""
    near = difflib.get_close_matches(key, own, n=3, cutoff=0.5)
    if near:
        return f"the app declares no such key; did you mean {' or '.join(near)}?"
    listed = ", ".join(_few(sorted(own))) or "none"
    return f"the app declares no such key; it declares: {listed}"


def _few(names: list[str]) -> Iterator[str]:
    yield from names[:_SHOWN]
    if len(names) > _SHOWN:
        yield f"and {len(names) - _SHOWN} more"
