"""The kinds of values: how each is written, which are accepted, and the reason why one is refused."""

import math
import re
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

from oneflower.settings.formats import TextFormat, finite_number, printable

Value = bool | int | float | str

# No quantity here is larger; Flower carries integers as 64 bits, and sleeps and counters fit well below.
LARGEST = 2**31 - 1

T = TypeVar("T", bool, int, float, str)
T_co = TypeVar("T_co", bool, int, float, str, covariant=True)
_Number = TypeVar("_Number", int, float)

_TRUTH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
# Sunstone may write a whole number with a decimal point; 1_000, 1e3 and other scripts' digits are typos.
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(\.0+)?")


class Kind(Protocol[T_co]):
    """What a variable's values are.

    Attributes
    ----------
    input_type
        The word of OpenNebula's USER_INPUTS.
    """

    input_type: ClassVar[str]

    @property
    def accepted(self) -> str:
        """What is accepted, in words."""

    def parse(self, text: str) -> T_co:
        """Return the value of what an operator wrote, blanks around it already removed.

        Raises
        ------
        ValueError
            With the reason why `text` is refused, in a few words.
        """

    def check(self, value: object) -> T_co:
        """Return a value that is typed already, such as one of Flower's run-config.

        Raises
        ------
        ValueError
            With the reason why `value` is refused, in a few words.
        """


@dataclass(frozen=True, slots=True)
class Boolean:
    """YES or NO."""

    input_type: ClassVar[str] = "boolean"

    @property
    def accepted(self) -> str:
        """What is accepted, in words."""
        return "YES or NO"

    def parse(self, text: str) -> bool:
        """Read YES, NO, true, false, 1 or 0 in upper or lower case; see `Kind.parse`."""
        if text.lower() not in _TRUTH:
            raise ValueError("it is neither YES nor NO")
        return _TRUTH[text.lower()]

    def check(self, value: object) -> bool:
        """See `Kind.check`."""
        if not isinstance(value, bool):
            raise _wrong_type(value, "bool")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Integer:
    """A whole number.

    Attributes
    ----------
    minimum, maximum
        Bounds, included. Without a maximum it is LARGEST.
    also
        Numbers accepted below the minimum.
    unit
        What it counts, as a plural noun: ``rounds``, ``seconds``.
    """

    input_type: ClassVar[str] = "number"

    minimum: int = 0
    maximum: int | None = None
    also: tuple[int, ...] = ()
    unit: str = ""

    @property
    def accepted(self) -> str:
        """What is accepted, in words."""
        unit = f" of {self.unit}" if self.unit else ""
        also = "".join(f"{number}, or " for number in self.also)
        upper = "or more" if self.maximum is None else f"to {self.maximum}"
        bounds = f"{'' if self.maximum is None else 'from '}{self.minimum} {upper}"
        return f"a whole number{unit}, {also}{bounds}"

    def parse(self, text: str) -> int:
        """Read digits, with ``.0`` after them or not; see `Kind.parse`."""
        if not _WHOLE_NUMBER.fullmatch(text):
            raise ValueError("it is not a whole number")
        number = int(text.partition(".")[0])
        if number > LARGEST and self.maximum is None:
            raise ValueError(f"it is larger than {LARGEST}")
        return self.check(number)

    def check(self, value: object) -> int:
        """See `Kind.check`."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise _wrong_type(value, "int")
        return value if value in self.also else _in_bounds(value, self.minimum, self.maximum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decimal:
    """A finite number.

    Attributes
    ----------
    minimum, maximum
        Bounds, included. Without a maximum there is none.
    exclusive, above_minimum
        Neither bound is accepted; the minimum alone is not.
    also
        Numbers accepted below the minimum.
    """

    input_type: ClassVar[str] = "number-float"

    minimum: float = 0.0
    maximum: float | None = None
    exclusive: bool = False
    above_minimum: bool = False
    also: tuple[float, ...] = ()

    @property
    def accepted(self) -> str:
        """What is accepted, in words."""
        if self.above_minimum and self.maximum is not None:
            return f"a finite number above {self.minimum:g}, at most {self.maximum:g}"
        if self.maximum is not None:
            words = ("strictly between", "and") if self.exclusive else ("from", "to")
            return f"a finite number, {words[0]} {self.minimum:g} {words[1]} {self.maximum:g}"
        if self.exclusive:
            return f"a finite number greater than {self.minimum:g}"
        also = "".join(f"{number:g}, or " for number in self.also)
        return f"a finite number, {also}{self.minimum:g} or more"

    def parse(self, text: str) -> float:
        """Read a number with a decimal point, an exponent, or neither; see `Kind.parse`."""
        return self.check(finite_number(text))

    def check(self, value: object) -> float:
        """Take an int, too; see `Kind.check`."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _wrong_type(value, "float")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise ValueError("it is not a finite number")
        if number in self.also:
            return number
        if self.above_minimum and number == self.minimum:
            raise ValueError("it is too small")
        return _in_bounds(number, self.minimum, self.maximum, exclusive=self.exclusive)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words, case-sensitive."""

    input_type: ClassVar[str] = "list"

    choices: tuple[str, ...]

    @property
    def accepted(self) -> str:
        """What is accepted, in words."""
        return self.choices[0] if len(self.choices) == 1 else "one of " + ", ".join(self.choices)

    def parse(self, text: str) -> str:
        """See `Kind.parse`."""
        if text in self.choices:
            return text
        near = self.near(text)
        raise ValueError(f"upper and lower case differ from {near!r}" if near else "it is not a choice")

    def check(self, value: object) -> str:
        """See `Kind.check`."""
        return self.parse(_text(value))

    def near(self, text: str) -> str | None:
        """Return the choice that differs from `text` in upper and lower case only."""
        return next((choice for choice in self.choices if choice.lower() == text.lower()), None)


@dataclass(frozen=True, slots=True)
class Text:
    """A text of one line; without a format, any that can be printed."""

    input_type: ClassVar[str] = "text"

    format: TextFormat | None = None

    @property
    def accepted(self) -> str:
        """What is accepted, in words."""
        return self.format.expected if self.format else "printable text"

    def parse(self, text: str) -> str:
        """Return the text in the normal form of its format; see `Kind.parse`."""
        return self.format.parse(text) if self.format else printable(text)

    def check(self, value: object) -> str:
        """See `Kind.check`."""
        return self.parse(_text(value))


class Text64(Text):
    """A text of several lines, a certificate or a key; a form encodes it as base64."""

    __slots__ = ()
    input_type: ClassVar[str] = "text64"


class Password(Text):
    """A text that a form hides while it is typed."""

    __slots__ = ()
    input_type: ClassVar[str] = "password"


def as_text(value: Value) -> str:
    """Write a value the way an operator would: YES and NO, plain numbers, text as it is."""
    if isinstance(value, bool):
        return "YES" if value else "NO"
    return str(value)


def _wrong_type(value: object, expected: str) -> ValueError:
    return ValueError(f"it is of type {type(value).__name__}, not {expected}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _wrong_type(value, "str")
    return value


def _in_bounds(
    number: _Number, minimum: _Number, maximum: _Number | None, *, exclusive: bool = False
) -> _Number:
    if number < minimum or (exclusive and number == minimum):
        raise ValueError("it is too small")
    if maximum is not None and (number > maximum or (exclusive and number == maximum)):
        raise ValueError("it is too large")
    return number
