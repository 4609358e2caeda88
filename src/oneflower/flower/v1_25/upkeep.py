"""What the SuperLink's database needs now and then, done where no call waits for it."""

import logging
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from functools import wraps
from pathlib import Path
from typing import Any, Final
from weakref import ref

from oneflower.flower.v1_25.lane import LANE, Rank

log = logging.getLogger(__name__)

EVERY_S: Final = 1.0
LONG_LOG: Final = 8 << 20
"""Bytes of a write-ahead log from which on it is copied into the database."""


class Upkeep:
    """Adds up the traffic of runs, and copies the write-ahead log, once a second.

    A crash loses what was counted in the last second, of numbers that are only shown.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: Counter[tuple[Callable[..., object], int, str]] = Counter()
        self._factories: dict[Path, Any] = {}
        self._started = False

    def watch(self, database: Path, factory: Any) -> None:
        """Keep up a database from now on; the factory makes the states that it is written with."""
        with self._lock:
            if hasattr(factory, "state"):
                self._factories[database] = ref(factory)
            if not self._started:
                self._started = True
                threading.Thread(target=self._run, name="upkeep", daemon=True).start()

    def adding_up(self, original: Callable[..., object]) -> Callable[..., None]:
        """Return what counts instead of writing at each call; `original` writes the sums."""

        @wraps(original)
        def add(_state: Any, run_id: int, *args: float, **numbers: float) -> None:
            with self._lock:
                for name, number in (*numbers.items(), *(("", each) for each in args)):
                    if number < 0:
                        raise ValueError(f"{name} is {number}; expected no negative number")
                    self._sums[original, run_id, name] += number  # type: ignore[assignment]

        return add

    def write(self, state: Any) -> None:
        """Write what was counted since the last time."""
        with self._lock:
            sums, self._sums = self._sums, Counter()
        by_call: dict[tuple[Callable[..., object], int], dict[str, float]] = {}
        for (original, run_id, name), number in sums.items():
            by_call.setdefault((original, run_id), {})[name] = number
        for (original, run_id), numbers in by_call.items():
            args = [numbers.pop("")] if "" in numbers else []
            with suppress(ValueError):  # the run is gone
                original(state, run_id, *args, **numbers)

    def _run(self) -> None:
        while True:
            time.sleep(EVERY_S)
            for database, factory in list(self._factories.items()):
                try:
                    self._keep_up(database, factory())
                except Exception as error:  # noqa: BLE001 - it is for all that follows
                    log.warning("database not kept up path=%s reason=%s", database, error)

    def _keep_up(self, database: Path, factory: Any) -> None:
        if factory is None:
            self._factories.pop(database)
            return
        if self._sums:
            with LANE.turn(Rank.SERVERAPP):
                self.write(factory.state())
        if _size(database.with_name(database.name + "-wal")) >= LONG_LOG:
            _copy_log(database)


def _copy_log(database: Path) -> None:
    """Copy the log while calls go on, then what has come meanwhile, and give its disk back.

    Where another process reads the database just then, the log stays until the next time.
    """
    with closing(sqlite3.connect(database, timeout=0.0)) as connection:
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        with LANE.turn(Rank.SERVERAPP):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
