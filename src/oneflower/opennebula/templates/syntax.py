"""The two formats that values are written in: OpenNebula's template syntax, and YAML for the marketplace.

OpenNebula's syntax is ``NAME = "value"`` and ``NAME = [ KEY = "value", ... ]``.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from oneflower.errors import SettingsError

_NAME = re.compile(r"[A-Z][A-Z0-9_]*")


def attribute(name: str, value: str) -> str:
    """Return one attribute line."""
    return f"{_checked(name)} = {_quoted(value)}"


def vector(name: str, values: Mapping[str, str]) -> str:
    """Return a vector attribute, one value per line."""
    pairs = ",\n".join(f"  {_checked(key)} = {_quoted(value)}" for key, value in values.items())
    return f"{_checked(name)} = [\n{pairs} ]"


def template(lines: Iterable[str]) -> str:
    """Join attributes into a template file."""
    return "\n".join(lines) + "\n"


def document(value: Any, *, comment: str = "") -> str:
    """Return one YAML document."""
    head = "---\n" + "".join(f"# {line}\n" for line in comment.splitlines())
    return head + yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"{name!r} cannot be an attribute of an OpenNebula template: expected upper-case letters, "
            "digits and _; rename it"
        )
    return name


def _quoted(value: str) -> str:
    """Quote a value; refuse what OpenNebula would read as the end of the value or as an escape."""
    if any(mark in value for mark in '"\\\n'):
        raise SettingsError(
            f"{value!r} cannot be a value in an OpenNebula template: expected text without double quotes, "
            "backslashes and newlines; change the text"
        )
    return f'"{value}"'


class _Dumper(yaml.SafeDumper):
    """Indent lists below their key, and write long texts as blocks."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - an alias would be valid but unreadable
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
