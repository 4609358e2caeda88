"""Output errors never end a training: a closed pipe, a closed terminal, a full disk."""

import errno
import io
import os
import sys
from typing import Any, Final, TextIO

# Errors after which the stream is of no use. After any other error only that text is lost.
GONE: Final = frozenset({errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO, errno.ECONNRESET})


class SteadyStream:
    """A text stream whose ``write`` and ``flush`` never raise OSError."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of the stream."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text; drop it if that fails."""
        try:
            return self._stream.write(text)
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
            setattr(sys, name, SteadyStream(stream))


def escape_unencodable() -> None:
    r"""Write characters that a standard stream cannot encode as ``\xe4`` instead of raising an error.

    A terminal may support ASCII only, and a path or a metric's name may not be valid text.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
