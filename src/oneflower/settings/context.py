"""OpenNebula's context.sh, read and written as data; nothing in it is ever run."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from oneflower.errors import SettingsError

MAX_SIZE_BYTES = 1024 * 1024

_LINE_START = re.compile(r"[ \t\r\f\v]*(?:(?P<end>\n|\Z)|(?P<comment>#[^\n]*)|)")
_ASSIGNMENT = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=")
_REST = re.compile(r"[ \t\r]*(?:[ \t]#[^\n]*)?(?=\n|\Z)")
_SEGMENT = re.compile(
    r"'(?P<single>[^']*)'"
    r'|"(?P<double>(?:[^"\\]|\\.)*)"'
    r"|\\(?P<escaped>.)"
    r"|(?P<bare>[^\s'\"\\]+)",
    re.DOTALL,
)
_DOUBLE_QUOTE_ESCAPE = re.compile(r'\\(["\\$`]|\n)')


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    number: int
    name: str
    value: str


def read_context(path: Path) -> dict[str, str]:
    """Read a context.sh; see `parse_context`.

    Raises
    ------
    SettingsError
        When the file is missing, unreadable, no regular file, larger than MAX_SIZE_BYTES, not UTF-8 or
        malformed.
    """
    try:
        if path.exists() and not path.is_file():
            raise SettingsError(
                f"The context {str(path)!r} is no regular file: expected an OpenNebula context.sh; "
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
            f"The context file {str(path)!r} is not UTF-8: line {line} holds the byte "
            f"0x{content[error.start]:02x}; expected UTF-8 text; save the file anew in UTF-8."
        ) from None


def parse_context(text: str, *, origin: str = "context") -> dict[str, str]:
    """Parse shell assignments, quotes and newlines in values included, without expanding anything.

    ``$(reboot)``, backticks and ``$NAME`` are the plain text that they are.

    Raises
    ------
    SettingsError
        Naming every line that is no assignment, each name that is given twice with different values, and a
        NUL byte.
    """
    values: dict[str, _Line] = {}
    problems: list[str] = []
    if "\0" in text:
        problems.append(f"line {text[: text.index(chr(0))].count(chr(10)) + 1}: a NUL byte")
        text = ""
    for each in _lines(text):
        if isinstance(each, str):
            problems.append(each)
            continue
        first = values.setdefault(each.name, each)
        if first.value != each.value:
            problems.append(
                f"line {each.number}: {each.name} again, with another value than line {first.number}"
            )
    if problems:
        raise SettingsError(
            f"{origin!r} is no OpenNebula context: expected lines of the form NAME='value'; "
            "mend these lines:\n" + "\n".join(problems)
        )
    return {line.name: line.value for line in values.values()}


def _lines(text: str) -> Iterator[_Line | str]:
    """Yield each assignment, and for each line that is none a text that says so."""
    position = 0
    while position < len(text):
        start = _LINE_START.match(text, position)
        position = start.end() if start else position
        if start and start["end"] is not None:
            continue
        if start and start["comment"] is not None:
            continue
        number = text.count("\n", 0, position) + 1
        end, value = _assignment(text, position)
        if value is None:
            line_end = text.find("\n", position)
            line_end = len(text) if line_end < 0 else line_end
            yield f"line {number}: {text[position : min(line_end, position + 60)]!r}"
            position = line_end
            continue
        yield _Line(number=number, name=value[0], value=value[1])
        position = end


def _assignment(text: str, position: int) -> tuple[int, tuple[str, str] | None]:
    """Match one assignment at `position`: where it ends, and its name and value."""
    head = _ASSIGNMENT.match(text, position)
    if not head:
        return position, None
    position = head.end()
    parts: list[str] = []
    while segment := _SEGMENT.match(text, position):
        parts.append(_plain(segment))
        position = segment.end()
    rest = _REST.match(text, position)
    return (rest.end(), (head[1], "".join(parts))) if rest else (position, None)


def _plain(segment: re.Match[str]) -> str:
    """Return what a shell would make of one quoted or bare piece, were there nothing to expand."""
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
        For a name that is no shell name, and for a NUL character in a value.
    """
    lines = []
    for name, value in mapping.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or "\0" in value:
            raise SettingsError(
                f"{name!r} cannot stand in a context: expected a name of letters, digits and _, and a value "
                "without NUL; rename or remove it."
            )
        quoted = value.replace("'", "'\\''")
        lines.append(f"{name}='{quoted}'\n")
    return "".join(lines)
