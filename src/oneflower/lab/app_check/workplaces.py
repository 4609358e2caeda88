"""Working directories for the code of an app: it finds there what the caller has, and what it makes is gone.

`simulate` runs an app in the caller's directory. Here each run of its server has one of its own, so that it
finds none of the folders that the run before has made, and the caller's stays as it is.
"""

import os
import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import chdir, contextmanager, suppress
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

_MOST_ENTRIES: Final = 300
_LEVELS: Final = 2
"""How many folders above the working directory are shown: `../..` is the last."""
_MOST_BYTES: Final = 1 << 20
_LARGEST: Final = 64 << 10
"""Larger files are links: they are data, and not what an app writes before round 1."""


@contextmanager
def working_directories(home: Path) -> Iterator[Iterator[None]]:
    """Work in a copy of the working directory, below `home`; what is yielded has two steps.

    The first makes a second copy, of what is there by then, and stays where it is. The second goes there.
    """
    try:
        origin = Path.cwd()
    except OSError:  # it was removed: nothing can be found there
        yield iter((None, None))
        return
    home.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="work-", dir=home) as work:
        first = working_copy(origin, Path(work, "1"))
        with chdir(first):  # which goes back at the end, from wherever the app is then
            yield _steps(origin, first, Path(work, "2"))


def _steps(origin: Path, first: Path, second: Path) -> Iterator[None]:
    there = working_copy(origin, second, content=first)
    yield
    os.chdir(there)
    yield


def working_copy(origin: Path, root: Path, *, content: Path | None = None) -> Path:
    """Make a folder below `root` where relative paths lead to what they lead to in `origin`.

    `..` and `../..` lead to links to what is there. In the folder are the entries of `content`, by default
    those of `origin`: folders to a limit, small files as copies, the rest as links.
    """
    place = root
    place.mkdir(parents=True)
    for folder in reversed([origin, *origin.parents][: min(_LEVELS, len(origin.parents))]):
        for entry in _entries(folder.parent, None):
            if entry.name != folder.name:
                _link(Path(entry.path), place / entry.name)
        place /= folder.name
        place.mkdir()
    _fill(content or origin, place, besides=root.parent)
    return place


def _fill(source: Path, place: Path, *, besides: Path) -> None:
    entries, room = _MOST_ENTRIES, _MOST_BYTES
    device = source.stat().st_dev
    waiting = deque([(source, place)])
    while waiting:
        folder, target = waiting.popleft()
        found = _entries(folder, None if folder == source else entries + 1)
        if folder != source and len(found) > entries:
            _link(folder, target)
            continue
        target.mkdir(exist_ok=True)
        entries -= len(found)
        for entry in found:
            path, copy = Path(entry.path), target / entry.name
            if path == besides:
                continue
            if _is_own_folder(entry, device) and entries > 0:
                waiting.append((path, copy))
            elif (size := _size(entry)) <= min(_LARGEST, room) and _copy(path, copy):
                room -= size
            else:
                _link(path, copy)


def _entries(folder: Path, most: int | None) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(islice(entries, most))
    except OSError:
        return []


def _is_own_folder(entry: os.DirEntry[str], device: int) -> bool:
    """Whether it is a folder to copy: not one of a tool such as .git, and on the same disk."""
    if entry.name.startswith(".") or not entry.is_dir(follow_symlinks=False):
        return False
    return entry.stat(follow_symlinks=False).st_dev == device


def _size(entry: os.DirEntry[str]) -> int:
    """Return how large a file is; what is no plain file is too large to copy."""
    with suppress(OSError):
        if entry.is_file(follow_symlinks=False):
            return entry.stat(follow_symlinks=False).st_size
    return _MOST_BYTES + 1


def _copy(path: Path, copy: Path) -> bool:
    try:
        shutil.copy2(path, copy, follow_symlinks=False)
    except OSError:
        copy.unlink(missing_ok=True)
        return False
    return True


def _link(path: Path, link: Path) -> None:
    with suppress(OSError):
        link.symlink_to(path)
