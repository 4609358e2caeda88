"""Ctrl-C, SIGTERM and SIGHUP: the first stops the training in an orderly way, the second immediately."""

import os
import signal
import sys
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = 130


class Interrupts:
    """Turn the first signal into KeyboardInterrupt, and only count later ones.

    A signal during the clean-up must not interrupt it, or processes would be left running. A signal that the
    parent ignores (`nohup`, a shell's background job) stays ignored. A SIGHUP of a closed terminal is ignored
    too: the training continues without output.

    Attributes
    ----------
    at_once
        There is nothing to clean up: the second signal ends this process with exit code 130.
    number
        The first signal; None before it.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        self.number: int | None = None
        self._at_once = at_once
        self._stopping = False
        self._after = 0
        self._before: dict[signal.Signals, Any] = {}
        self._terminals = _terminals()

    def __enter__(self) -> Self:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            # An interrupted process only prints its last lines: another signal ends it at once.
            signal.signal(number, handler if self.number is None else _end)
        self._before.clear()

    def stopping(self) -> None:
        """Mark the start of the clean-up: from now on no signal raises."""
        self._stopping = True

    def hurry(self) -> bool:
        """Return whether a signal arrived after the clean-up began."""
        return self._after > 0

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP and self._terminals and not _terminals():
            return
        if self._stopping:
            self._after += 1
            if self._at_once:
                _end(number, _frame)
            return
        self._stopping = True
        self.number = number
        raise KeyboardInterrupt


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.stdout.flush()
    os._exit(INTERRUPTED)


def _terminals() -> list[int]:
    """Return the standard streams that are an open terminal."""
    return [descriptor for descriptor in (0, 1, 2) if os.isatty(descriptor)]
