"""What stays of a journal when its oldest file would be overwritten: all but the events of single clients.

A client can cause as many of those as it likes, by joining and leaving. The history of the rounds must not
be lost for them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from oneflower.files import replace_file
from oneflower.journal.events import (
    ClientFailed,
    ClientJoined,
    ClientLeft,
    ClientNamed,
    ClientQuarantined,
    ReplyReceived,
    WaitingForClients,
)

OF_CLIENTS: Final = frozenset(
    event.tag
    for event in (
        ClientFailed,
        ClientJoined,
        ClientLeft,
        ClientNamed,
        ClientQuarantined,
        ReplyReceived,
        WaitingForClients,
    )
)


def keep_history(oldest: Path, history: Path, max_bytes: int) -> None:
    """Add what concerns the rounds to the history, which then has the newest of it up to so many bytes.

    The history is replaced by a rename. Where a crash came between this and the end of the rotation, the same
    lines are not added twice.
    """
    added = b"".join(_history_of(oldest))
    known = history.read_bytes() if history.exists() else b""
    if not added or known.endswith(added):
        return
    whole = known + added
    if len(whole) > max_bytes:
        whole = whole[whole.index(b"\n", len(whole) - max_bytes - 1) + 1 :]
    replace_file(history, whole, mode=0o644)


def _history_of(oldest: Path) -> Iterator[bytes]:
    with oldest.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n") and _is_history(line):
                yield line


def _is_history(line: bytes) -> bool:
    try:
        event = json.loads(line)["event"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return False
    return isinstance(event, str) and event not in OF_CLIENTS
