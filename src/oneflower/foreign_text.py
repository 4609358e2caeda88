"""Text that others may have written: escape what controls a terminal or a log, and cut what is too long.

Clients, apps, checkpoint folders and peers send texts. Each is cut once, where it enters (`cut`), and escaped
wherever it is shown (`printable`); streams and log handlers escape the rest (`oneflower.output`).
"""

from typing import Final

LONGEST_REASON: Final = 2_000
"""Characters of a reason, an error or another sentence that a client may send."""
LONGEST_NAME: Final = 200
"""Characters of a name: of an array, a metric, an app, a node."""


def printable(text: str) -> str:
    r"""Escape what is no visible character: controls, line ends, bidirectional overrides, surrogates.

    ESC becomes the four characters ``\x1b``, a line end ``\n``, U+202E ``\u202e``.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def printable_lines(text: str) -> str:
    """Escape the same, except for line ends and tabs: for text of several lines, such as a traceback."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text)


def cut(text: str, most: int = LONGEST_REASON) -> str:
    """Return the first `most` characters; of a longer text say how long it was."""
    if len(text) <= most:
        return text
    return f"{text[:most]}... ({len(text):,} characters)"


def shown(text: str, most: int = LONGEST_REASON) -> str:
    """Return a text that someone else wrote as it may be stored and shown: cut, then escaped."""
    return printable(cut(text, most))
