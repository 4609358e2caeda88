"""Output that cannot be written never ends a training: a closed pipe, a vanished terminal, a full disk."""

import errno
import io
import os
import sys
from typing import Any, Final, TextIO

# Nobody will ever read here again; what else fails may pass, and only that text is lost.
GONE: Final = frozenset({errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO, errno.ECONNRESET})


class SteadyStream:
    """A text stream whose ``write`` and ``flush`` never raise OSError."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        """Return whatever else the stream has."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write where that is possible."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written where that is possible."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Let everything that is still written here go nowhere, also what other code writes."""
        if error.errno not in GONE:
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, self._stream.fileno())
        finally:
            os.close(nowhere)


def steady_output() -> None:
    """Make the standard streams of this process steady; doing it again changes nothing."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started this process
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - for the process's life
        if not isinstance(stream, SteadyStream):
            setattr(sys, name, SteadyStream(stream))


def spell_the_unprintable() -> None:
    r"""Write what a standard stream's encoding has no sign for as ``\xe4`` instead of raising an error.

    A terminal may know ASCII alone, and a path or a metric's name may be no valid text.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
