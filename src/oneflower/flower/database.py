"""The SuperLink's database is disposable: one that cannot be read is set aside, and Flower makes another."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

CHECK_S: Final = 5.0
STEPS: Final = 10_000
DAMAGED: Final = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})
# A write-ahead log belongs to the file that it was written for, and would spoil another.
PARTS: Final = ("", "-wal", "-shm")


def set_aside_damaged(database: Path, *, clock: Callable[[], float] = time.monotonic) -> Path | None:
    """Rename a database that is none, with its log, to the first free of ``name.damaged.1``, ``.2``, ...

    No model is in it, and a lost run is submitted again. One that cannot be read for another reason (no
    permission, a full disk, a lock) stays as it is.

    Returns
    -------
    Path or None
        Where it is now; None where it was good or not there.
    """
    if not database.is_file() or not is_damaged(database, clock=clock):
        return None
    number = 1
    while (target := database.with_name(f"{database.name}.damaged.{number}")).exists():
        number += 1
    for part in PARTS:
        piece = database.with_name(database.name + part)
        if piece.exists():
            piece.rename(target.with_name(target.name + part))
    return target


def is_damaged(database: Path, *, clock: Callable[[], float] = time.monotonic) -> bool:
    """Whether SQLite finds damage within ``CHECK_S``; a large one is not read to its end."""
    deadline = clock() + CHECK_S
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=rw", uri=True, timeout=1.0)) as connection:
            connection.set_progress_handler(lambda: int(clock() > deadline), STEPS)
            found = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in DAMAGED
    return found is not None and found[0] != "ok"
