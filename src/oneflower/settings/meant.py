"""What an operator probably meant by a value that is refused. It is suggested, never taken."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Final

from oneflower.settings.formats import MAX_TEXT_LENGTH
from oneflower.settings.values import Boolean, Choice, Decimal, Integer, Kind

_YES: Final = frozenset({"y", "on", "t", "enable", "enabled"})
_NO: Final = frozenset({"n", "off", "f", "disable", "disabled"})
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+]?[0-9]{1,2})?")
_GROUPS: Final = re.compile(r"[+-]?[0-9]{1,3}([_, '][0-9]{3})+")
_UNITS: Final = {"s": "seconds", "sec": "seconds", "seconds": "seconds", "rounds": "rounds", "mb": "MB"}


def meant(kind: Kind[Any], text: str) -> str | None:
    """Return a value that `kind` accepts and `text` resembles; None where there is none.

    >>> meant(Decimal(maximum=1.0, above_minimum=True), "80%")
    '0.8'
    """
    if len(text) > MAX_TEXT_LENGTH:
        return None
    return next((each for each in _candidates(kind, text.strip()) if _accepted(kind, each)), None)


def _accepted(kind: Kind[Any], text: str) -> bool:
    try:
        kind.parse(text)
    except ValueError:
        return False
    return True


def _candidates(kind: Kind[Any], text: str) -> Iterator[str]:
    match kind:
        case Boolean():
            word = text.lower()
            yield from ["YES"] * (word in _YES) + ["NO"] * (word in _NO)
        case Choice():
            yield from _choices(kind, text)
        case Integer():
            if _GROUPS.fullmatch(text):
                yield re.sub(r"[_, ']", "", text)
            yield from _whole(text)
            yield from _without_unit(kind, text)
        case Decimal():
            if not _GROUPS.fullmatch(text):  # 1,000 may be one or a thousand
                yield text.replace(",", ".")
            number = text.removesuffix("%").rstrip()
            share = kind.maximum is not None and kind.maximum <= 1
            if share and number != text and _NUMBER.fullmatch(number):
                yield f"{float(number) / 100:g}"


def _choices(kind: Choice, text: str) -> Iterator[str]:
    plain = {re.sub(r"[^a-z0-9]", "", choice.lower()): choice for choice in reversed(kind.choices)}
    word = re.sub(r"[^a-z0-9]", "", text.lower())
    if word in plain:
        yield plain[word]
    near = get_close_matches(word[:64], plain, n=1, cutoff=0.9)
    # FedAvg is no QFedAvg.
    yield from (plain[each] for each in near if each[0] == word[0])


def _whole(text: str) -> Iterator[str]:
    """Yield a number with an exponent as digits, where it is whole."""
    if _NUMBER.fullmatch(text) and float(text).is_integer():
        yield str(int(float(text)))


def _without_unit(kind: Integer, text: str) -> Iterator[str]:
    found = re.fullmatch(r"([0-9]{1,20})\s*([A-Za-z]{1,8})", text)
    if found and kind.unit and _UNITS.get(found[2].lower()) == kind.unit:
        yield found[1]
