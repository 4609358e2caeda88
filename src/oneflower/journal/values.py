"""Single values of a line: checked, named in an error, and cut to what a journal holds."""

from typing import Any, Final

from oneflower.foreign_text import cut

MOST_ITEMS: Final = 10_000


class FieldError(ValueError):
    """A value is not what its field expects."""


def text(value: Any) -> str:
    """Check a text; replace what is no character: a surrogate stands in no file."""
    if type(value) is str:
        return value if value.isascii() else value.encode(errors="replace").decode()
    raise FieldError(f"{shown(value)}: expected text")


def plain(value: Any) -> Any:
    """Return NumPy's and Torch's numbers as Python's; anything else as it is."""
    return value.tolist() if hasattr(value, "tolist") and not isinstance(value, type) else value


def shown(value: Any) -> str:
    """Return a value as an error names it."""
    found = repr(value)
    return found if len(found) <= 60 else f"{found[:60]}..."


def shortened(value: Any, most: int) -> Any:
    """Return what is written of a value: no text in it is longer, and no list has more than `MOST_ITEMS`.

    A journal is bounded in size, and a client sends what it likes.
    """
    if isinstance(value, str):
        return cut(value, most)
    if isinstance(value, list):
        return [shortened(each, most) for each in value[:MOST_ITEMS]]
    if isinstance(value, dict):
        return {key: shortened(each, most) for key, each in list(value.items())[:MOST_ITEMS]}
    return value
