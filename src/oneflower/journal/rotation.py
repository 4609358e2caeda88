"""What stays of a journal when its oldest file would be overwritten: all but the events of single clients.

A client can cause as many of those as it likes, by joining and leaving. The history of the rounds must not
be lost for them.
"""

import logging
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from oneflower.bounded_json import parse_json
from oneflower.files import read_bytes, replace_file
from oneflower.journal.codec import LINE
from oneflower.journal.events import (
    ClientFailed,
    ClientJoined,
    ClientLeft,
    ClientNamed,
    ClientQuarantined,
    GpuSeen,
    ReplyReceived,
    UpdatesMeasured,
    WaitingForClients,
)

log = logging.getLogger(__name__)

OF_CLIENTS: Final = frozenset(
    event.tag
    for event in (
        ClientFailed,
        ClientJoined,
        ClientLeft,
        ClientNamed,
        ClientQuarantined,
        GpuSeen,
        ReplyReceived,
        UpdatesMeasured,
        WaitingForClients,
    )
)


def keep_history(oldest: Path, history: Path, max_bytes: int) -> None:
    """Add what concerns the rounds to the history, which then has the newest of it up to so many bytes.

    The history is replaced by a rename. Where a crash came between this and the end of the rotation, the same
    lines are not added twice. Files that are larger than ours are another's, and nothing is kept of them.
    """
    most = 2 * max_bytes
    try:
        added = b"".join(_history_of(read_bytes(oldest, most, follow=False)))
        known = read_bytes(history, most, follow=False) if history.exists() else b""
    except OSError as error:
        log.warning("history of the rounds not kept path=%s reason=%s", oldest, error)
        return
    if not added or known.endswith(added):
        return
    whole = known + added
    if len(whole) > max_bytes:
        whole = whole[whole.index(b"\n", len(whole) - max_bytes - 1) + 1 :]
    replace_file(history, whole, mode=0o600)


def set_foreign_aside(file: Path) -> None:
    """Rename what has a name of ours and is no file: a named pipe or a folder would stop every rotation."""
    try:
        mode = file.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        aside = file.with_name(f"{file.name}.foreign-{time.time_ns()}")
        file.rename(aside)
        log.warning("no file of the journal, set aside path=%s as=%s", file, aside.name)


def _history_of(oldest: bytes) -> Iterator[bytes]:
    begin = 0
    while end := oldest.find(b"\n", begin) + 1:
        line, begin = oldest[begin:end], end
        if _is_history(line):
            yield line


def _is_history(line: bytes) -> bool:
    try:
        event = parse_json(line, LINE)["event"]
    except (ValueError, KeyError, TypeError):
        return False
    return isinstance(event, str) and event not in OF_CLIENTS
