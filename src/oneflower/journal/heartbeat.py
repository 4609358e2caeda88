"""The heartbeat of a ServerApp: its supervisor sees progress although the journal cannot be written.

A beat writes no byte. It changes the name of a thread, which whoever sees the process reads in /proc, and the
time of an empty file beside the journal, which is for a supervisor in another PID namespace.
"""

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from oneflower.files import open_to_write
from oneflower.procfs import thread_names

PREFIX: Final = "beat-"
_NUMBERS: Final = 16**10  # the kernel keeps 15 characters of a thread's name


def heartbeat_file(journal: Path, run: int | None) -> Path:
    """Return the file whose time a run's ServerApp changes; several runs may write one journal."""
    return journal.with_name(f".{journal.name}.{'run' if run is None else run}.alive")


class Heartbeat:
    """Beats for one process: ``beat`` at every step of its work. It never raises and never waits."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._count = 0
        self._comm: Path | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        with suppress(RuntimeError):  # no thread can be started now: the file is left
            thread = threading.Thread(target=self._ended.wait, name="heartbeat", daemon=True)
            thread.start()
            self._comm = Path(f"/proc/self/task/{thread.native_id}/comm")
        self.beat()

    def beat(self) -> None:
        """Show that the process has gone a step further."""
        with self._lock:
            self._count += 1
            if self._comm is not None:
                with suppress(OSError):
                    self._comm.write_text(f"{PREFIX}{self._count % _NUMBERS:x}", encoding="ascii")
            with suppress(OSError):
                self._touch()

    def end(self) -> None:
        """Leave nothing behind."""
        self._ended.set()
        with suppress(OSError):
            self._file.unlink()

    def _touch(self) -> None:
        try:
            os.utime(self._file, follow_symlinks=False)
        except FileNotFoundError:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            os.close(open_to_write(self._file, os.O_WRONLY))


def forget_heartbeats(journal: Path, runs: Iterable[int]) -> None:
    """Remove the files of runs whose ServerApps may have been killed."""
    for run in runs:
        with suppress(OSError):
            heartbeat_file(journal, run).unlink()


def last_beat(journal: Path, run: int, pids: Iterable[int]) -> object:
    """Return what differs after every beat; None where neither the processes nor the file can be seen.

    Where the folder is read-only nobody can write there, so it tells nothing: then every look differs.
    """
    file = heartbeat_file(journal, run)
    names = sorted(name for pid in pids for name in thread_names(pid) if name.startswith(PREFIX))
    with suppress(OSError):
        return names, file.lstat().st_mtime_ns
    if not names:
        with suppress(OSError):
            return object() if os.statvfs(file.parent).f_flag & os.ST_RDONLY else None
    return names or None
