"""What decoded data depend on: the files that are decoded, and the code that decodes them."""

import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from oneflower.files import read_bytes

MOST_FILES: Final = 500_000
MOST_DEPTH: Final = 32
MOST_CODE_FILES: Final = 1_000
CHEAP_BYTES: Final = 4 << 20
"""Up to so many bytes the content is compared as well: some file systems have coarse or no change times."""


def state_of(source: Path) -> tuple[str, int]:
    """Return a digest of a file, or of all files of a folder, and when the newest of them changed (ns).

    Path, size, inode, and the times of the last change of content and of the inode count: a file that is
    replaced with its old times has another inode or another change time. Of small files the content counts.

    Raises
    ------
    OSError
        A file or folder cannot be read.
    ValueError
        There are more files than can be compared quickly.
    """
    facts: list[tuple[object, ...]] = []
    plain, newest_ns, size_bytes = [], 0, 0
    for name, path in _files(source):
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            facts.append((name, "folder"))  # the name of an empty folder may be a class
            continue
        facts.append((name, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev))
        newest_ns = max(newest_ns, found.st_mtime_ns, found.st_ctime_ns)
        if stat.S_ISREG(found.st_mode):
            plain.append(path)
            size_bytes += found.st_size
    digest = hashlib.sha256(repr(facts).encode(errors="surrogateescape"))
    if size_bytes <= CHEAP_BYTES:
        for path in plain:
            digest.update(hashlib.sha256(read_bytes(path, 2 * CHEAP_BYTES)).digest())
    return digest.hexdigest(), newest_ns


def _files(source: Path) -> Iterator[tuple[str, Path]]:
    """Yield the source, or everything in it, in the order of the names; links are followed."""
    if not source.is_dir():
        yield "", source
        return
    count = 0
    for folder, folders, names in os.walk(source, followlinks=True, onerror=_raise):
        folders.sort()
        inside = Path(folder).relative_to(source)
        count += len(folders) + len(names)
        if count > MOST_FILES or len(inside.parts) > MOST_DEPTH:
            raise ValueError(f"it has more than {MOST_FILES} files or {MOST_DEPTH} folders in one another")
        for name in (*folders, *sorted(names)):
            yield str(inside / name), Path(folder, name)


def _raise(error: OSError) -> None:
    raise error


@lru_cache(maxsize=64)
def code_of(decode: Callable[..., Any]) -> str:
    """Return a digest of the code of a function's package, of the installed packages and of Python.

    Raises
    ------
    OSError, ValueError
        The code cannot be read, or is more than is compared.
    """
    module = Path(getattr(sys.modules[decode.__module__], "__file__", None) or "")
    package = module.parent
    is_package = (package / "__init__.py").is_file()
    files = sorted(package.rglob("*.py")) if is_package else [module]
    if len(files) > MOST_CODE_FILES or not module.is_file():
        raise ValueError(f"its code in {package} has {len(files)} files; expected 1 to {MOST_CODE_FILES}")
    facts = [
        (str(file.relative_to(package)), hashlib.sha256(file.read_bytes()).hexdigest()) for file in files
    ]
    return hashlib.sha256(repr((facts, sys.version, _installed())).encode()).hexdigest()


@lru_cache(maxsize=1)
def _installed() -> tuple[str, ...]:
    """Return the names and versions of the packages that this process can import."""
    found: set[str] = set()
    for folder in filter(os.path.isdir, sys.path):
        names = (each.name for each in Path(folder).iterdir())
        found.update(name for name in names if name.endswith((".dist-info", ".egg-info")))
    return tuple(sorted(found))
