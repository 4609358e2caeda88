"""Text that others may have written: escape what controls a terminal or a log, and cut what is too long.

Clients, apps, checkpoint folders and peers send texts. Each is cut once, where it enters (`cut`), and escaped
wherever it is shown (`printable`); streams and log handlers escape the rest (`oneflower.output`).
"""

import re
from typing import Final

LONGEST_REASON: Final = 2_000
"""Characters of a reason, an error or another sentence that a client may send."""
LONGEST_NAME: Final = 200
"""Characters of a name: of an array, a metric, an app, a node."""

# C0 without tab and line end, C1, bidirectional and other invisible controls, surrogates, tags.
_INVISIBLE: Final = (
    r"\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    r"\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff"
)
_CUT: Final = re.compile(r"\.\.\. \([0-9]{1,15} more characters\)")
_CONTROLS: Final = re.compile(rf"[{_INVISIBLE}]|\x1b(?!\[[0-9;]*m)")
_CONTROLS_OF_TERMINAL: Final = re.compile(rf"(?!\r)[{_INVISIBLE}]|\x1b(?!\[[0-9;]*[A-HJKm]|\[\?[0-9;]*[hl])")


def printable(text: str) -> str:
    r"""Escape what is no visible character: controls, line ends, bidirectional overrides, surrogates.

    ESC becomes the four characters ``\x1b``, a line end ``\n``, U+202E ``\u202e``.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def continued(text: str) -> str:
    """Escape the same in text of several lines, such as a traceback; each line after the first is marked.

    A line of a log cannot be forged by it: it would begin with ``  | ``.
    """
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    return "\n  | ".join(printable(line.expandtabs()) for line in lines)


def for_stream(text: str, *, terminal: bool) -> str:
    r"""Escape what a stream must not pass on: control characters but line ends and tabs, and bidi overrides.

    Colours pass, and on a terminal the sequences that move its cursor. Elsewhere a ``\r`` begins a line.
    """
    if text.isascii() and text.isprintable():
        return text
    if not terminal and "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return (_CONTROLS_OF_TERMINAL if terminal else _CONTROLS).sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return repr(match[0])[1:-1]


def cut(text: str, most: int = LONGEST_REASON) -> str:
    """Return the first `most` characters, and how many more there were; what was cut is not cut again."""
    left = len(text) - most
    if left <= 0 or _CUT.fullmatch(text, most):
        return text
    return f"{text[:most]}... ({left} more characters)"


def shown(text: str, most: int = LONGEST_REASON) -> str:
    """Return a text that someone else wrote as it may be stored and shown: cut, then escaped to one line."""
    short = cut(text, most)
    begin, ending = short[:most], short[most:]
    return printable(begin)[:most] + printable(ending)
