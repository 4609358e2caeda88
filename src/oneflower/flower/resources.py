"""How many files a SuperLink may have open, and on which processor its threads run."""

import logging
import os
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Final

from oneflower.files import MOST_OPEN, allow_open_files, most_open_files

log = logging.getLogger(__name__)

FEW_FILES: Final = 4096
ALL: Final = "ONEFLOWER_PROCESSORS"
"""In the environment of what a SuperLink starts: the numbers of the processors that it found."""


def allow_connections() -> None:
    """Raise the limit of open files: each connection is one, and 1,024 is the usual limit."""
    allow_open_files()
    files = most_open_files()
    if files < FEW_FILES:
        log.warning(
            "open files limit=%d wanted=%d: half of them may be connections of SuperNodes. Raise the hard "
            "limit: LimitNOFILE=%d in a systemd unit, --ulimit=nofile=%d:%d for docker run; see `ulimit -Hn`",
            files,
            *[MOST_OPEN] * 4,
        )


def stay_on_one(environ: MutableMapping[str, str]) -> int | None:
    """Keep this thread, and those that it starts, on one processor; return which, or None.

    Python runs one thread at a time. On several processors each hand-over wakes another one, which takes half
    of what a call costs. Several SuperLinks of a machine choose by their process ids.
    """
    if not hasattr(os, "sched_setaffinity"):  # macOS
        return None
    found = sorted(os.sched_getaffinity(0))
    if len(found) < 2:
        return None
    chosen = found[os.getpid() % len(found)]
    with suppress(OSError):
        os.sched_setaffinity(0, {chosen})
        environ[ALL] = ",".join(map(str, found))
        return chosen
    return None


def use_all(environ: MutableMapping[str, str]) -> None:
    """Give this program the processors back that the SuperLink that started it has kept to one."""
    found = environ.pop(ALL, "")
    if found:
        with suppress(OSError, ValueError):
            os.sched_setaffinity(0, {int(each) for each in found.split(",")})
