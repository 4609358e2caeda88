"""The standard streams: an error of one never ends a training, and nobody's text controls a terminal."""

import errno
import io
import os
import sys
from collections.abc import Iterable
from typing import Any, Final, TextIO

from oneflower.foreign_text import for_stream

# Errors after which the stream is of no use. After any other error only that text is lost.
GONE: Final = frozenset({errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO, errno.ECONNRESET})


class EscapingStream:
    """A text stream that escapes control characters (`foreign_text.for_stream`)."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of the stream."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text."""
        self._stream.write(for_stream(text, terminal=self._terminal))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write the texts."""
        for line in lines:
            self.write(line)


class SteadyStream(EscapingStream):
    """The same, and its ``write`` and ``flush`` never raise OSError."""

    def write(self, text: str) -> int:
        """Write the text; drop it if that fails."""
        try:
            return super().write(text)
        except OSError as error:
            self._discard_if_gone(error)
        return len(text)

    def flush(self) -> None:
        """Flush the stream; drop its buffer if that fails."""
        try:
            self._stream.flush()
        except OSError as error:
            self._discard_if_gone(error)

    def _discard_if_gone(self, error: OSError) -> None:
        """Redirect the descriptor to /dev/null if the reader is gone, also for other code that writes."""
        if error.errno not in GONE:
            return
        devnull = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(devnull, self._stream.fileno())
        finally:
            os.close(devnull)


def steady_output() -> None:
    """Wrap this process's standard streams in `SteadyStream`; idempotent."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the parent process
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - for the process's life
        if not isinstance(stream, SteadyStream):
            inner = stream._stream if isinstance(stream, EscapingStream) else stream  # noqa: SLF001 - its own
            setattr(sys, name, SteadyStream(inner))


def escaping_output() -> None:
    """Wrap this process's standard streams in `EscapingStream`, after `escape_unencodable`; idempotent."""
    escape_unencodable()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, EscapingStream):
            setattr(sys, name, EscapingStream(stream))


def escape_unencodable() -> None:
    r"""Write characters that a standard stream cannot encode as ``\xe4`` instead of raising an error.

    A terminal may support ASCII only, and a path or a metric's name may not be valid text.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
