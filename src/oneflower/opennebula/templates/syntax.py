"""OpenNebula's own template syntax: ``NAME = "value"`` and ``NAME = [ KEY = "value", ... ]``."""

import re
from collections.abc import Iterable, Mapping

from oneflower.errors import SettingsError

_NAME = re.compile(r"[A-Z][A-Z0-9_]*")


def attribute(name: str, value: str) -> str:
    """Return one attribute line."""
    return f"{_checked(name)} = {_quoted(value)}"


def vector(name: str, values: Mapping[str, str]) -> str:
    """Return a vector attribute, one value a line."""
    pairs = ",\n".join(f"  {_checked(key)} = {_quoted(value)}" for key, value in values.items())
    return f"{_checked(name)} = [\n{pairs} ]"


def template(lines: Iterable[str]) -> str:
    """Join attributes into a template file."""
    return "\n".join(lines) + "\n"


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"{name!r} cannot be an attribute of an OpenNebula template: expected upper-case letters, "
            "digits and _; rename it"
        )
    return name


def _quoted(value: str) -> str:
    """Quote a value; what OpenNebula would read as the end of it, or as an escape, is refused."""
    if any(mark in value for mark in '"\\\n'):
        raise SettingsError(
            f"{value!r} cannot stand in an OpenNebula template: expected text without quotes, "
            "backslashes and newlines; change the text"
        )
    return f'"{value}"'
