"""Log what a reader did wrong once a minute, however often: each bad request could write a line otherwise."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

SERVER_LOG: Final = "uvicorn.error"
EVERY_S: Final = 60.0
MOST_KINDS: Final = 32


@dataclass(slots=True)
class _Line:
    until: float
    left_out: int = 0


@dataclass(eq=False)
class Sparing(logging.Filter):
    """Lets a message pass once in `EVERY_S`; the next one that passes says how many did not."""

    clock: Callable[[], float] = time.monotonic
    _lines: dict[str, _Line] = field(default_factory=dict)

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is written."""
        kind = str(record.msg)[:80]
        now, found = self.clock(), self._lines.get(kind)
        if found is not None and now < found.until:
            found.left_out += 1
            return False
        if found is not None and found.left_out:
            record.msg = f"{record.msg} ({found.left_out} more since the last line of this kind)"
        if len(self._lines) >= MOST_KINDS:
            self._lines.clear()
        self._lines[kind] = _Line(now + EVERY_S)
        return True


_SPARING: Final = Sparing()


def spare_log() -> None:
    """Limit the lines of the web server, whose log is that of this process; safe to call again."""
    logging.getLogger(SERVER_LOG).addFilter(_SPARING)
