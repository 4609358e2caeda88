"""Parse JSON that others may have written: its size, values and nesting are counted before it is parsed.

Three bytes such as ``[],`` become an object of 64: a text of 200 MB would take 10 GB.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

_OUTSIDE: Final = bytes(set(range(256)) - set(b'[]{},"'))
# A value has at most a name and a text, of two quotes each.
_QUOTES_OF_A_VALUE: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a text may have at most. A value takes up to about 130 bytes of memory besides its text."""

    most_bytes: int = 16 << 20
    most_values: int = 200_000
    most_depth: int = 32


SMALL: Final = Bounds()
"""For the small files of a state folder, and for answers."""


def parse_json(data: bytes | str, bounds: Bounds = SMALL) -> Any:
    """Parse JSON within bounds; ValueError for whatever is wrong with it."""
    require_bounds(data, bounds)
    # Of bytes `json` would guess the encoding, and see other brackets than were counted.
    text = data if isinstance(data, str) else data.decode("utf-8")
    try:
        return json.loads(text)
    except (RecursionError, MemoryError, OverflowError) as error:
        raise ValueError(f"nested or large beyond all bounds: {type(error).__name__}") from error


def require_bounds(data: bytes | str, bounds: Bounds) -> None:
    """Raise ValueError where a text has more bytes, values or nesting than the bounds allow."""
    if len(data) > bounds.most_bytes:
        raise ValueError(f"it has {len(data)} bytes; at most {bounds.most_bytes} are read")
    opened, values = _counted(data)
    if opened <= bounds.most_depth and values <= bounds.most_values:
        return  # the usual case, in which commas and brackets of texts may be counted, too
    raw = data.encode(errors="replace") if isinstance(data, str) else data
    structure = _structure(raw, bounds)
    _, values = _counted(structure)
    if values > bounds.most_values:
        raise ValueError(f"it has {values} values; at most {bounds.most_values} are read")
    _require_depth(structure.translate(None, b","), bounds.most_depth)


def values_at_most(data: bytes | str) -> int:
    """Return a bound of the values in a text, without parsing it."""
    return _counted(data)[1]


def _counted(data: bytes | str) -> tuple[int, int]:
    """Return how many brackets open, and how many values there are at most."""
    if isinstance(data, str):
        opened, commas = data.count("[") + data.count("{"), data.count(",")
    else:
        opened, commas = data.count(b"[") + data.count(b"{"), data.count(b",")
    return opened, opened + commas


def _structure(data: bytes, bounds: Bounds) -> bytes:
    """Return the brackets and commas that stand outside of texts."""
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    kept = data.translate(None, _OUTSIDE)
    if kept.count(b'"') > _QUOTES_OF_A_VALUE * (bounds.most_values + 1):
        raise ValueError(f"it has more than {bounds.most_values} values, which are not read")
    return b"".join(kept.split(b'"')[::2])


def _require_depth(brackets: bytes, most: int) -> None:
    """Raise ValueError unless removing the innermost pairs so often leaves nothing of the brackets."""
    brackets = brackets.replace(b"{", b"[").replace(b"}", b"]")
    for _ in range(most):
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise ValueError(f"it is nested more than {most} deep, or its brackets do not match")
