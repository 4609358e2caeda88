"""Log oneflower's own lines where Flower's go, at the same level."""

import logging
from typing import Final

from oneflower.flower.api import FLOWER_LOGGER

OURS: Final = logging.getLogger("oneflower")


class ThroughFlower(logging.Handler):
    """Passes a record to Flower's handlers; each applies its own level (FL_LOG_LEVEL)."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record on; not to Flower's logger, which would pass it to the root logger again."""
        for handler in FLOWER_LOGGER.handlers:
            if record.levelno >= handler.level:
                handler.handle(record)


def log_through_flower() -> None:
    """Show the lines of the checkpoint store and the journal in this process; repeating it changes nothing.

    Without it Python drops what is below a warning, and prints a warning without its level.
    """
    if not any(isinstance(handler, ThroughFlower) for handler in OURS.handlers):
        OURS.addHandler(ThroughFlower())
    # Lowered, never raised: Flower's handlers choose for themselves, and others may listen to our lines.
    OURS.setLevel(min([logging.WARNING, *(handler.level for handler in FLOWER_LOGGER.handlers)]))
