"""Ctrl-C, SIGTERM and a closed terminal: the first stops the training in order, the second at once."""

import signal
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Turn the first signal into KeyboardInterrupt, and only count those after it.

    A signal that came during the clean-up must not break it off, or processes would be left behind.
    """

    def __init__(self) -> None:
        self._stopping = False
        self._after = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def stopping(self) -> None:
        """Say that the clean-up begins: no signal raises any more."""
        self._stopping = True

    def hurry(self) -> bool:
        """Whether a signal came after the clean-up had begun."""
        return self._after > 0

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self._stopping:
            self._after += 1
            return
        self._stopping = True
        raise KeyboardInterrupt
