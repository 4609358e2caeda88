"""Ctrl-C, SIGTERM and SIGHUP: the first stops the training in order, the second at once."""

import os
import signal
import sys
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = 130


class Interrupts:
    """Turn the first signal into KeyboardInterrupt, and only count those after it.

    A signal that came during the clean-up must not break it off, or processes would be left behind. One that
    whoever started this process ignores (`nohup`, a shell's background job) stays ignored. A SIGHUP because
    the terminal has vanished ends nothing, either: the training goes on without its output.

    Attributes
    ----------
    at_once
        There is nothing to clean up: the second signal ends this process with exit code 130.
    number
        The first signal, None before it.
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
            # What is left of an interrupted process is its last words.
            signal.signal(number, handler if self.number is None else _end)
        self._before.clear()

    def stopping(self) -> None:
        """Say that the clean-up begins: no signal raises any more."""
        self._stopping = True

    def hurry(self) -> bool:
        """Whether a signal came after the clean-up had begun."""
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
    """Return which of the standard streams are a terminal; one that has vanished is none."""
    return [descriptor for descriptor in (0, 1, 2) if os.isatty(descriptor)]
