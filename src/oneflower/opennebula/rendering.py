"""Render texts in other languages (HCL, bash, Ruby, systemd units, Markdown) from ``template_files/``.

A template names for each value the filter that quotes it for the language around it. A value without a filter
is refused when the template is rendered, and so is a name that has no value.
"""

import functools
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATE_FILES: Final = Path(__file__).parent / "template_files"

# Without a meaning of its own in a shell, HCL, Ruby, make, a systemd unit and Markdown.
_WORD = re.compile(r"[A-Za-z0-9_./:+=-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]")


class Quoted(str):
    """Text that is quoted for the place where it stands."""

    __slots__ = ()


def render(template: str, /, **values: object) -> str:
    """Return the text of a template file, given by its path below ``template_files`` without ``.j2``."""
    return _environment().get_template(f"{template}.j2").render(values)


def word(value: object) -> str:
    """Return a value that means itself everywhere; ValueError where it would need quotes."""
    text = str(value)
    if not _WORD.fullmatch(text):
        raise ValueError(f"{text!r} is not a plain word: expected letters, digits and _./:+=-; quote it")
    return text


def words(values: Iterable[object]) -> str:
    """Return plain words, separated by blanks."""
    return " ".join(word(value) for value in values)


def shell_string(value: object) -> str:
    """Return a word for a POSIX shell, always in single quotes."""
    quoted = shlex.quote(str(value))
    return quoted if quoted.startswith("'") else f"'{quoted}'"


def hcl_string(value: object) -> str:
    """Return an HCL string without interpolation: ``${`` and ``%{`` stand for themselves."""
    text = _one_line(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + text.replace("${", "$${").replace("%{", "%%{") + '"'


def ruby_string(value: object) -> str:
    """Return a Ruby string in single quotes, which interpolates nothing."""
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"


def systemd_text(value: object) -> str:
    """Return the text of a unit's setting; ``%`` would be expanded, and a final backslash joins lines."""
    text = _one_line(value)
    if text.endswith("\\"):
        raise ValueError(f"{text!r} cannot end a line of a unit: expected a text without a final backslash")
    return text.replace("%", "%%")


def systemd_command(arguments: Sequence[str]) -> str:
    r"""Return a command line from which systemd passes the arguments to the program unchanged.

    ``%`` and ``$`` would be expanded; a backslash and a quote would end or change a word: systemd.service(5).
    A line break would begin another setting: ValueError.
    """
    return " ".join(_systemd_argument(argument) for argument in arguments)


def env_value(value: object) -> str:
    """Return the value of a line of an env-file, which ends at the first line break."""
    return _one_line(value)


def markdown_cell(value: object) -> str:
    """Return text for a cell of a Markdown table."""
    return _one_line(value).replace("|", "\\|")


_FILTERS: Final[dict[str, Callable[..., str]]] = {
    "word": word,
    "words": words,
    "shell": shell_string,
    "hcl": hcl_string,
    "ruby": ruby_string,
    "systemd_text": systemd_text,
    "systemd_command": systemd_command,
    "cell": markdown_cell,
}


def _systemd_argument(argument: str) -> str:
    text = _one_line(argument).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"'


def _one_line(value: object) -> str:
    text = str(value)
    if _CONTROL.search(text):
        raise ValueError(f"{text!r} holds a control character: expected text on one line")
    return text


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE_FILES),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - no HTML; each value is quoted for its language, see _quoted_only
        finalize=_quoted_only,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {name: _marking(quote) for name, quote in _FILTERS.items()}
    return environment


def _marking(quote: Callable[..., str]) -> Callable[..., Quoted]:
    return lambda value: Quoted(quote(value))


def _quoted_only(value: object) -> str:
    if not isinstance(value, Quoted):
        raise TypeError(f"{value!r} is not quoted: give it one of the filters {', '.join(_FILTERS)}")
    return value
