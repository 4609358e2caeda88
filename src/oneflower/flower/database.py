"""Set aside a SuperLink's database that cannot be read: it is disposable, and Flower creates another."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

DATABASE_VARIABLE: Final = "ONEFLOWER_DATABASE"
"""Names the database for the ServerApps that a SuperLink starts: they say what it will take of the disk."""
CHECK_S: Final = 5.0
STEPS: Final = 10_000
DAMAGED: Final = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})
# A write-ahead log belongs to the file that it was written for, and would spoil another.
PARTS: Final = ("", "-wal", "-shm")


def set_aside_damaged(database: Path, *, clock: Callable[[], float] = time.monotonic) -> Path | None:
    """Rename a damaged database, with its log, to the first free of ``name.damaged.1``, ``.2``, ...

    It contains no model, and a lost run is submitted again. One that cannot be read for another reason (no
    permission, a full disk, a lock) stays as it is.

    Returns
    -------
    Path or None
        Its new path; None where it was intact or did not exist.
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
