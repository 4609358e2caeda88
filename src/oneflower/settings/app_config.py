"""FL_APP_CONFIG: values for the run-config keys that an app declares itself, as pairs or as TOML."""

import math
import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from oneflower.settings.formats import MAX_TEXT_LENGTH, TextFormat
from oneflower.settings.values import Value

# A value without quotes that is no number and no boolean is text: `model=small`.
_PAIR = re.compile(r"""([^\s='"]+)=('[^'\n]*'|"(?:[^"\\\n]|\\.)*"|[^\s'"]\S*)(?=\s|$)""")


def app_pairs(text: str) -> dict[str, Value]:
    """Return the keys and values of a text: pairs separated by blanks or lines, or TOML.

    Tables become keys with dots, as in Flower's run-config.

    Raises
    ------
    ValueError
        With the reason why the text is neither.
    """
    _require_text(text)
    try:
        return _checked(_flat(tomllib.loads(text)))
    except tomllib.TOMLDecodeError as error:
        left = _PAIR.sub("", text).split()
        if left and ("\n" in text or "[" in text):
            raise ValueError(f"it is not TOML ({error}); quote text values") from None
        if left:
            raise ValueError(f"{left[0][:60]!r} is not of the form key=value") from None
    return _checked(_pairs(text))


def _require_text(text: str) -> None:
    if len(text) > MAX_TEXT_LENGTH:
        raise ValueError(f"it has {len(text)} characters; at most {MAX_TEXT_LENGTH} are allowed")
    for character in text:
        if unicodedata.category(character) == "Cs":
            raise ValueError("it contains bytes that are not UTF-8")
        if unicodedata.category(character) in {"Cc", "Zl", "Zp"} and character not in "\n\r\t":
            raise ValueError(f"it contains the control character {character!r}")


def _pairs(text: str) -> Iterator[tuple[str, object]]:
    for key, value in _PAIR.findall(text):
        try:
            yield key, tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            yield key, value


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _checked(pairs: Iterator[tuple[str, object]]) -> dict[str, Value]:
    """Refuse what Flower's run-config cannot hold, and a key that is given twice."""
    found: dict[str, Value] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is given twice")
        if not isinstance(value, bool | int | float | str):
            raise ValueError(f"the value of {key!r} is neither a boolean, a number nor text")  # noqa: TRY004
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(f"the value of {key!r} does not fit 64 bits")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"the value of {key!r} is not a finite number")
        found[key] = value
    return found


def _app_config(text: str) -> str:
    app_pairs(text)
    return text


APP_CONFIG = TextFormat(
    expected="pairs key=value separated by blanks, with text values in quotes, or TOML",
    example='local-epochs=2 model="small"',
    parse=_app_config,
)
