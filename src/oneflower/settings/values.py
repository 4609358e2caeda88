"""From one text, or one typed value, to a checked value; or the reason why not."""

import math
import re
from typing import TypeVar

from oneflower.settings.formats import MAX_TEXT_LENGTH, printable
from oneflower.settings.variable import LARGEST, Kind, Value, Variable

_Number = TypeVar("_Number", int, float)

_TRUTH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
# Sunstone may write a whole number with a decimal point; 1_000, 1e3 and other scripts' digits are typos.
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(\.0+)?")
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def parse_text(variable: Variable, text: str) -> Value:
    """Parse what an operator wrote, blanks around it already removed.

    Raises
    ------
    ValueError
        With the reason why `text` is refused, in a few words.
    """
    match variable.kind:
        case Kind.BOOLEAN:
            if text.lower() not in _TRUTH:
                raise ValueError("it is neither YES nor NO")
            return _TRUTH[text.lower()]
        case Kind.NUMBER:
            if not _WHOLE_NUMBER.fullmatch(text):
                raise ValueError("it is no whole number")
            number = int(text.partition(".")[0])
            if number > LARGEST and variable.maximum is None:
                raise ValueError(f"it is larger than {LARGEST}")
            return check_value(variable, number)
        case Kind.FLOAT:
            if len(text) > MAX_TEXT_LENGTH or not _FLOAT.fullmatch(text):
                raise ValueError("it is no finite number")
            return check_value(variable, float(text))
        case Kind.LIST | Kind.TEXT | Kind.TEXT64 | Kind.PASSWORD:
            return check_value(variable, text)


def check_value(variable: Variable, value: object) -> Value:
    """Check the type and the bounds of a value that is typed already, such as one of Flower's run-config.

    Raises
    ------
    ValueError
        With the reason why `value` is refused, in a few words.
    """
    match variable.kind:
        case Kind.BOOLEAN:
            if not isinstance(value, bool):
                raise _wrong_type(value, "bool")
            return value
        case Kind.NUMBER:
            if isinstance(value, bool) or not isinstance(value, int):
                raise _wrong_type(value, "int")
            return _in_bounds(variable, value)
        case Kind.FLOAT:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise _wrong_type(value, "float")
            return _in_bounds(variable, _finite(value))
        case Kind.LIST | Kind.TEXT | Kind.TEXT64 | Kind.PASSWORD:
            if not isinstance(value, str):
                raise _wrong_type(value, "str")
            return _choice(variable, value) if variable.kind is Kind.LIST else _formatted(variable, value)


def _wrong_type(value: object, expected: str) -> ValueError:
    return ValueError(f"it is of type {type(value).__name__}, not {expected}")


def _finite(value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("it is no finite number")
    return number


def _in_bounds(variable: Variable, number: _Number) -> _Number:
    if number in variable.also:
        return number
    low, high = variable.minimum, variable.maximum
    if low is not None and (number < low or (variable.exclusive and number == low)):
        raise ValueError("it is too small")
    if high is not None and (number > high or (variable.exclusive and number == high)):
        raise ValueError("it is too large")
    return number


def _choice(variable: Variable, text: str) -> str:
    if text in variable.choices:
        return text
    same = [choice for choice in variable.choices if choice.lower() == text.lower()]
    raise ValueError(f"upper and lower case differ from {same[0]!r}" if same else "there is no such choice")


def _formatted(variable: Variable, text: str) -> str:
    if not text and variable.default == "":
        return text
    return variable.format.parse(text) if variable.format else printable(text)
