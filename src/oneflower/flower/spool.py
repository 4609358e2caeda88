"""A file without a name that holds the replies of a round, so that they are not in memory.

It has no name in the folder: a crash leaves nothing behind. It is written with system calls, which say when
the disk is full, and read through the address space.
"""

import mmap
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from logging import INFO
from pathlib import Path
from typing import IO, Any, Final

from oneflower.aggregation.blocks import FileMap
from oneflower.flower.api import ArrayRecord, log

RESERVE_BYTES: Final = 2 << 30
"""What the disk keeps free: checkpoints and the SuperLink's database are written there, too."""
_ALIGNMENT: Final = 64


Stored = bytes | memoryview


@dataclass(slots=True, kw_only=True)
class Spool:
    """The file of one round after the other.

    Parameters
    ----------
    folder
        On a disk, not in memory: that of the checkpoints.
    """

    folder: Path
    _file: IO[bytes] | None = None
    _map: FileMap | None = None
    _end: int = 0
    _told: set[str] = field(default_factory=set)

    @property
    def is_open(self) -> bool:
        """Whether there is a file to write to."""
        return self._map is not None

    def begin(self, capacity_bytes: int) -> None:
        """Take a new file of this size, which takes no disk before it is written."""
        self.close()
        try:
            file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 - closed with the round
            file.truncate(capacity_bytes)
            self._file, self._map = file, FileMap(file.fileno(), capacity_bytes, access=mmap.ACCESS_READ)
        except (OSError, ValueError, OverflowError) as error:
            self._tell(str(error))

    def close(self) -> None:
        """Let the file go; its space is free once nothing looks into it."""
        if self._file is not None:
            self._file.close()
        self._file, self._map, self._end = None, None, 0

    def let_go(self) -> None:
        """Let what was read leave the memory of this process; the file has it."""
        if self._map is not None:
            self._map.madvise(mmap.MADV_DONTNEED)

    def __del__(self) -> None:
        """Close the file of a training that has failed."""
        self.close()

    def put(self, parts: Iterable[Stored], size_bytes: int = 0) -> Stored:
        """Write parts one after the other; return a view of them, or their bytes where the disk has no room.

        `size_bytes` is about how many there will be.
        """
        left = iter(parts)
        if self._file is None or self._map is None or not self._has_room(size_bytes):
            return b"".join(left)
        start = at = -(-self._end // _ALIGNMENT) * _ALIGNMENT
        for part in left:
            if at + len(part) > len(self._map) or not self._write(part, at):
                return b"".join([self._map[start:at], part, *left])
            at += len(part)
            del part  # the next one need not be beside it in memory
        self._end = at
        return memoryview(self._map)[start:at]

    def _write(self, part: Stored, at: int) -> bool:
        rest = memoryview(part).cast("B")
        try:
            while self._file is not None and rest:
                done = os.pwrite(self._file.fileno(), rest, at)
                rest, at = rest[done:], at + done
        except OSError as error:
            self._tell(str(error))
            return False
        return True

    def _has_room(self, size_bytes: int) -> bool:
        try:
            found = os.statvfs(self.folder)
        except OSError as error:
            self._tell(str(error))
            return False
        if found.f_bavail * found.f_frsize >= RESERVE_BYTES + size_bytes:
            return True
        self._tell(f"less than {RESERVE_BYTES >> 30} GB would be free")
        return False

    def _tell(self, reason: str) -> None:
        if reason not in self._told:
            self._told.add(reason)
            log(INFO, "replies stay in memory, not in a file folder=%s reason=%s", self.folder, reason)


def laid_aside(record: ArrayRecord, folder: Path) -> Spool:
    """Move the bytes of a record that is rarely read into a file; the record stays what it is."""
    spool = Spool(folder=folder)
    spool.begin(sum(len(array.data) + _ALIGNMENT for array in record.values()))
    for array in record.values():
        stored: Any = spool.put([array.data], len(array.data))  # any buffer will do
        array.data = stored
    return spool
