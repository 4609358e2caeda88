"""How much memory and disk a process can still take: of its machine, and of its control groups."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
CGROUPS: Final = Path("/sys/fs/cgroup")
_KIB: Final = 1024
_V2: Final = ("memory.max", "memory.current")
_V1: Final = ("memory.limit_in_bytes", "memory.usage_in_bytes")
_RECLAIMABLE: Final = ("inactive_file", "active_file")
"""Files in memory, which Linux gives up for whoever needs the memory."""


def memory_free(proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """Return how many bytes this process can take, by its machine and all groups above it; None if unknown.

    Swap is not counted: a model that is swapped out makes a round take hours.
    """
    found = [] if (available := _field(proc / "meminfo", "MemAvailable")) is None else [available * _KIB]
    with suppress(OSError):
        found += _left_in_groups((proc / "self" / "cgroup").read_text(encoding="utf-8"), cgroups)
    return min(found, default=None)


def own_memory(proc: Path = PROC) -> int:
    """Return how many bytes this process has taken already; 0 where that cannot be read."""
    taken = (_field(proc / "self" / "status", name) or 0 for name in ("RssAnon", "RssShmem"))
    return sum(taken) * _KIB


def disk_free(folder: Path) -> tuple[int, int] | None:
    """Return the device of a folder and how many bytes are free for this user; None if it cannot be told.

    A folder that does not exist yet is on the disk of the nearest one above it that does.
    """
    for place in (folder, *folder.parents):
        with suppress(OSError):
            found = os.statvfs(place)
            return place.stat().st_dev, found.f_bavail * found.f_frsize
    return None


def _left_in_groups(text: str, cgroups: Path) -> Iterator[int]:
    """Yield what each memory group of this process, and each group above it, may still take."""
    for line in text.splitlines():
        number, controllers, path = ([*line.split(":", 2), "", ""])[:3]
        if number == "0" and not controllers:
            yield from _left_up_to(cgroups, path, _V2)
        elif "memory" in controllers.split(","):
            yield from _left_up_to(cgroups / "memory", path, _V1)


def _left_up_to(top: Path, path: str, names: tuple[str, str]) -> Iterator[int]:
    """Yield what is left from the group of a path up to the top; in a container the path may not be there."""
    if ".." in path.split("/"):
        path = ""
    group = top / path.strip("/")
    for each in (group, *group.parents):
        if not each.is_relative_to(top):
            return
        left = _left(each, names)
        if left is not None:
            yield left


def _left(group: Path, names: tuple[str, str]) -> int | None:
    limit, current = (_number(group / name) for name in names)
    if limit is None or current is None:
        return None  # "max", or no such group
    files = sum(_field(group / "memory.stat", name) or 0 for name in _RECLAIMABLE)
    return max(0, limit - max(0, current - files))


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdecimal() else None


def _field(path: Path, name: str) -> int | None:
    """Return the number after a name at the beginning of a line."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(rf"^{name}:?\s+(\d+)", text, re.MULTILINE)
    return None if found is None else int(found[1])
