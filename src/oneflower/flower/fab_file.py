"""Take a FAB that somebody else has packed: check it, declare oneflower's keys, and pack it again."""

import hashlib
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Final

from oneflower.errors import AppError, StateError
from oneflower.flower.fab import PYPROJECT, Fab, build_fab

MOST_BYTES: Final = 10 * 1024 * 1024
"""The largest FAB that a SuperLink takes (flwr/common/constant.py, FAB_MAX_SIZE)."""
MOST_UNPACKED_BYTES: Final = 10 * MOST_BYTES
MOST_FILES: Final = 10_000
MOST_NAME_BYTES: Final = 1024
MOST_PART_BYTES: Final = 255
_CONTENT: Final = ".info/CONTENT"
# The other ways of compression have no bound of what one read gives: a few bytes become gigabytes.
_COMPRESSED: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
# What `zipfile` and `zlib` raise for a file that somebody has damaged or made up.
_UNPACKING: Final = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error),
    *(NotImplementedError, RuntimeError, OSError, ValueError, EOFError, LookupError, OverflowError),
)
_ENCRYPTED: Final = 0x1


def repacked_fab(
    content: bytes, called: str, values: Mapping[str, bool | int | float | str] | None = None
) -> Fab:
    """Return the app of a FAB with oneflower's run-config keys declared; its id and version stay.

    Nothing of it is executed. ``called`` names it in errors, ``values`` replace its run-config's defaults.

    Raises
    ------
    AppError
        It is no FAB, is larger than Flower allows, names files outside of itself, contradicts its own list of
        files, or its app is no Flower app.
    StateError
        There is no room to unpack it, or no folder for temporary files.
    """
    files = _files(content, called)
    try:
        with tempfile.TemporaryDirectory(prefix="fab-", ignore_cleanup_errors=True) as temporary:
            folder = Path(temporary)
            _write(files, folder)
            try:
                return build_fab(folder, values or {})
            except AppError as error:
                raise AppError(str(error).replace(str(folder), called)) from error
    except OSError as error:
        raise StateError(
            f"{called} cannot be unpacked in {tempfile.gettempdir()}: {error.strerror}; expected room for "
            f"{MOST_UNPACKED_BYTES} bytes: free some, or set TMPDIR"
        ) from error


def _write(files: dict[str, bytes], folder: Path) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)


def _files(content: bytes, called: str) -> dict[str, bytes]:
    """Return the files of a FAB by their names, the list of its files apart."""
    if len(content) > MOST_BYTES:
        raise _refused(called, f"it has {len(content)} bytes, and a SuperLink takes {MOST_BYTES} at most")
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            problem = _problem(entries)
            if problem:
                raise _refused(called, problem)
            files = {entry.filename: _content(archive, entry) for entry in entries}
    except _UNPACKING as error:
        raise _refused(called, f"it cannot be unpacked: {error}") from error
    listed = files.pop(_CONTENT, None)
    if PYPROJECT not in files or listed is None:
        raise _refused(called, f"it has no {PYPROJECT if listed is not None else _CONTENT}")
    if not _agrees(listed, files):
        raise _refused(called, f"its files are not those of its {_CONTENT}")
    return files


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Read as many bytes as an entry says that it has; more is an error, whatever it would unpack to."""
    with archive.open(entry) as opened:
        content = opened.read(entry.file_size + 1)
    if len(content) != entry.file_size:
        raise ValueError(f"{entry.filename[:100]!r} has another size than it says")
    return content


def _problem(entries: list[zipfile.ZipInfo]) -> str:
    if len(entries) > MOST_FILES:
        return f"it has {len(entries)} files; expected {MOST_FILES} at most"
    total = sum(entry.file_size for entry in entries)
    if total > MOST_UNPACKED_BYTES:
        return f"it unpacks to {total} bytes; expected {MOST_UNPACKED_BYTES} at most"
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        return "two of its files have one name"
    folders = {str(folder) for name in names for folder in PurePosixPath(name).parents}
    if both := folders.intersection(names):
        return f"its file {min(both)[:100]!r} is a folder of other files, too"
    return next((f"its file {entry.filename[:100]!r} {why}" for entry in entries if (why := _why(entry))), "")


def _why(entry: zipfile.ZipInfo) -> str:
    """Say why an entry may not be unpacked; empty where it may."""
    name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or str(path) != name or "\\" in name or ":" in name:
        return "has a name that leaves its folder"
    if len(name.encode(errors="replace")) > MOST_NAME_BYTES or any(
        len(part.encode(errors="replace")) > MOST_PART_BYTES for part in path.parts
    ):
        return f"has a name of more than {MOST_NAME_BYTES} bytes, or {MOST_PART_BYTES} in one part"
    if not name.isprintable():
        return "has a name that cannot be printed"
    if kind not in (0, stat.S_IFREG):
        return "is a link or a device"
    if entry.compress_type not in _COMPRESSED:
        return "is not compressed as `flwr build` does it"
    return "is encrypted" if entry.flag_bits & _ENCRYPTED else ""


def _agrees(listed: bytes, files: dict[str, bytes]) -> bool:
    """Whether every file has the SHA-256 in the list, as Flower checks it; no file is besides."""
    lines = listed.decode("utf-8", errors="replace").splitlines()
    wanted = dict(line.rsplit(",", 2)[:2] for line in lines if line.count(",") >= 2)
    given = {name: hashlib.sha256(text).hexdigest() for name, text in files.items() if name != PYPROJECT}
    return given == {name: digest for name, digest in wanted.items() if name != PYPROJECT}


def _refused(called: str, why: str) -> AppError:
    return AppError(
        f"{called} is not a Flower App Bundle (FAB) that can be used: {why}. Expected the file that "
        "`flwr build` writes; build it again, or give the app's folder"
    )
