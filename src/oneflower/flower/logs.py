"""Log oneflower's own lines where Flower's go, at the same level; nobody's text forges or hides a line."""

import copy
import logging
from typing import Final

from oneflower.flower.api import FLOWER_LOGGER
from oneflower.foreign_text import continued, printable

OURS: Final = logging.getLogger("oneflower")
_TRACES: Final = logging.Formatter()


class ThroughFlower(logging.Handler):
    """Passes a record to Flower's handlers; each applies its own level (FL_LOG_LEVEL)."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record on; not to Flower's logger, which would pass it to the root logger again."""
        for handler in FLOWER_LOGGER.handlers:
            if record.levelno >= handler.level:
                handler.handle(record)


def log_through_flower() -> None:
    """Show the lines of the checkpoint store and the journal in this process; repeating it changes nothing.

    Without it Python drops what is below a warning, and prints a warning without its level. Flower's own
    lines are escaped from here on, too (`escaped`).
    """
    for each in FLOWER_LOGGER.handlers:
        _escape_lines_of(each)
    if not any(isinstance(handler, ThroughFlower) for handler in OURS.handlers):
        OURS.addHandler(ThroughFlower())
    # Lowered, never raised: Flower's handlers choose for themselves, and others may listen to our lines.
    OURS.setLevel(min([logging.WARNING, *(handler.level for handler in FLOWER_LOGGER.handlers)]))


def escaped(record: logging.LogRecord) -> logging.LogRecord:
    """Return a record whose texts are escaped: an argument whole, so that it cannot begin another line.

    Lines of the message itself and of a traceback are marked as continued (`foreign_text.continued`).
    """
    safe = copy.copy(record)
    arguments = record.args
    if isinstance(arguments, tuple):
        safe.args = tuple(map(_argument, arguments))
    safe.msg, safe.args = continued(safe.getMessage()), None
    if record.exc_info:
        safe.exc_text = continued(record.exc_text or _TRACES.formatException(record.exc_info))
    if record.stack_info:
        safe.stack_info = continued(record.stack_info)
    return safe


def _argument(value: object) -> object:
    """Return a text as one line; anything else as it is, for its format."""
    return printable(str(value)) if isinstance(value, str | BaseException) else value


def _escape_lines_of(handler: logging.Handler) -> None:
    if "format" in vars(handler):
        return
    plain = handler.format
    handler.format = lambda record: plain(escaped(record))  # type: ignore[method-assign]
