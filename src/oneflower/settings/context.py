"""OpenNebula's context.sh, read and written as data; it is never executed."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from oneflower.errors import SettingsError

MAX_SIZE_BYTES = 1024 * 1024

_NEWLINE = "\n"
_NUL = "\0"
_MOST_PROBLEMS = 20
_EXCERPT_CHARACTERS = 32
_NAME_OF_LINE = re.compile(r"(export\s+)?[^\s=:'\"]*\s*[=:]?")
_BASE64_LINE = re.compile(r"[A-Za-z0-9+/]{20,}")

_BLANK = re.compile(r"(?:\s+|#[^\n]*)*", re.ASCII)
_REST_OF_LINE = re.compile(r"[^\n]*")
_ASSIGNMENT = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=")
_REST = re.compile(r"[ \t\r]*(?:[ \t]#[^\n]*)?(?=\n|\Z)")
_SEGMENT = re.compile(
    r"'(?P<single>[^']*)'"
    r'|"(?P<double>[^"\\]*(?:\\.[^"\\]*)*)"'
    r"|\\(?P<escaped>.)"
    r"|(?P<bare>[^\s'\"\\]+)",
    re.DOTALL | re.ASCII,
)
_DOUBLE_QUOTE_ESCAPE = re.compile(r'\\(["\\$`]|\n)')


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    number: int
    name: str = ""
    value: str = ""
    problem: str = ""


def read_context(path: Path) -> dict[str, str]:
    """Read a context.sh; see `parse_context`.

    Raises
    ------
    SettingsError
        When the file is missing, unreadable, not a regular file, larger than MAX_SIZE_BYTES, not UTF-8 or
        malformed.
    """
    try:
        if path.exists() and not path.is_file():
            raise SettingsError(
                f"The context {str(path)!r} is not a regular file: expected an OpenNebula context.sh; "
                "give the path of the file itself."
            )
        with path.open("rb") as file:
            content = file.read(MAX_SIZE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SettingsError(
            f"The context file {str(path)!r} cannot be read ({reason}): expected an OpenNebula context.sh; "
            "check the path and its permissions."
        ) from None
    if len(content) > MAX_SIZE_BYTES:
        raise SettingsError(
            f"The context file {str(path)!r} is larger than {MAX_SIZE_BYTES} bytes: "
            "expected an OpenNebula context.sh; check the path."
        )
    return parse_context(_decode(content, path), origin=str(path))


def _decode(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError(
            f"The context file {str(path)!r} is not UTF-8: line {line} contains the byte "
            f"0x{content[error.start]:02x}; expected UTF-8 text; save the file in UTF-8."
        ) from None


def parse_context(text: str, *, origin: str = "context") -> dict[str, str]:
    """Parse shell assignments, quotes and newlines in values included, without expanding anything.

    ``$(reboot)``, backticks and ``$NAME`` are plain text.

    Raises
    ------
    SettingsError
        Naming every line that is not an assignment, each name that is given twice with different values, and
        a NUL byte.
    """
    if "\0" in text:
        raise _malformed(origin, [f"line {text.count(_NEWLINE, 0, text.index(_NUL)) + 1}: a NUL byte"])
    values: dict[str, _Line] = {}
    problems: list[str] = []
    for line in _lines(text):
        if line.problem:
            problems.append(f"line {line.number}: {line.problem}")
            continue
        first = values.setdefault(line.name, line)
        if first.value != line.value:
            problems.append(f"line {line.number}: {line.name} has another value than on line {first.number}")
    if problems:
        raise _malformed(origin, problems)
    return {line.name: line.value for line in values.values()}


def _malformed(origin: str, problems: list[str]) -> SettingsError:
    more = [f"and {len(problems) - _MOST_PROBLEMS} more"] if len(problems) > _MOST_PROBLEMS else []
    lines = [*problems[:_MOST_PROBLEMS], *more]
    return SettingsError(
        f"{origin!r} is not an OpenNebula context: expected lines of the form NAME='value'; correct these:\n"
        + "\n".join(lines)
    )


def _lines(text: str) -> Iterator[_Line]:
    """Yield each assignment, and a line with a problem for whatever is neither that nor a comment."""
    position, number = 0, 1
    while position < len(text):
        start = position
        position = _skip(_BLANK, text, position)
        number += text.count(_NEWLINE, start, position)
        if position == len(text):
            return
        start = position
        line, position = _assignment(text, position, number)
        yield line
        number += text.count(_NEWLINE, start, position)


def _assignment(text: str, start: int, number: int) -> tuple[_Line, int]:
    """Read one assignment at `start`; return it, or what is wrong with it, and where to continue."""
    head = _ASSIGNMENT.match(text, start)
    position = head.end() if head else start
    parts: list[str] = []
    while head and (segment := _SEGMENT.match(text, position)):
        parts.append(_plain(segment))
        position = segment.end()
    rest = _REST.match(text, position)
    if head and rest:
        return _Line(number=number, name=head[1], value="".join(parts)), rest.end()
    if head and text.startswith(("'", '"'), position):
        return _Line(number=number, problem=f"the quote in {head[1]} is never closed"), len(text)
    problem = f"found {_excerpt(text, start)}"
    return _Line(number=number, problem=problem), _skip(_REST_OF_LINE, text, position)


def _skip(pattern: re.Pattern[str], text: str, position: int) -> int:
    found = pattern.match(text, position)
    return found.end() if found else position


def _excerpt(text: str, start: int) -> str:
    """Quote the name that a line begins with: its value may be a password, and messages reach logs."""
    line = text[start : start + _EXCERPT_CHARACTERS].partition(_NEWLINE)[0]
    if _BASE64_LINE.match(line):
        return "a line of base64, as in a certificate or a key without quotes around it"
    found = _NAME_OF_LINE.match(line)
    return f"{found[0] if found else ''!r}"


def _plain(segment: re.Match[str]) -> str:
    """Return what a shell would make of one quoted or bare piece without expanding anything."""
    if segment["double"] is not None:
        return _DOUBLE_QUOTE_ESCAPE.sub(lambda found: found[1].replace("\n", ""), segment["double"])
    if segment["escaped"] is not None:
        return segment["escaped"].replace("\n", "")
    return segment["single"] if segment["single"] is not None else segment["bare"]


def render_context(mapping: Mapping[str, str]) -> str:
    """Write a context as OpenNebula does: every value in single quotes.

    Raises
    ------
    SettingsError
        For a name that is not a shell name, and for a NUL character in a value.
    """
    lines = []
    for name, value in mapping.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or "\0" in value:
            raise SettingsError(
                f"{name!r} cannot be in a context: expected a name of letters, digits and _, and a value "
                "without NUL; rename or remove it."
            )
        quoted = value.replace("'", "'\\''")
        lines.append(f"{name}='{quoted}'\n")
    return "".join(lines)
