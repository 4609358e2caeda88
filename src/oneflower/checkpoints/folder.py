"""Operations on the checkpoint folder: committed rounds, rounds set aside, cleaning up after a crash.

A round is removed manifest first, and that is made durable before its data files are touched. So no crash
can leave a manifest whose files are gone.
"""

import errno
import logging
import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

from oneflower.checkpoints.files import LARGEST_MANIFEST, MOST_NAMES, Files, state_error
from oneflower.checkpoints.names import (
    BEST,
    HISTORY,
    LATEST,
    METADATA,
    data_round,
    is_ours,
    is_temporary,
    manifest_name,
    manifest_round,
    model_name,
    parse_set_aside,
    round_files,
    temporary,
)
from oneflower.checkpoints.npz import Arrays
from oneflower.checkpoints.writing import replace_file, replace_link, write_temporary
from oneflower.errors import StateError
from oneflower.files import make_private, readers_of

log = logging.getLogger(__name__)

_PROBE: Final = "checkpoint_probe"


def make_folder(files: Files, path: Path) -> None:
    """Create the folder and its parents durably: a folder lost in a crash would take its commits along."""
    try:
        files.make_folder(path)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_folder(files, path.parent)
        files.make_folder(path)
    files.sync_folder(path.parent)


def close_checkpoints(root: Path) -> None:
    """Take what an earlier release let others read from them; the group of a shared folder keeps it."""
    with suppress(OSError):
        shared = readers_of(root)
        with os.scandir(root) as entries:
            for entry in islice(entries, MOST_NAMES):
                is_file = entry.is_file(follow_symlinks=False)
                if is_file and is_ours(entry.name) and entry.stat().st_mode & ~(0o700 | shared) & 0o777:
                    make_private(root / entry.name, also=shared)


def committed_rounds(files: Files, root: Path) -> list[int]:
    """Return the rounds that have a manifest, oldest first."""
    rounds = (manifest_round(name) for name in files.names(root))
    return sorted(number for number in rounds if number is not None)


def probe(files: Files, root: Path) -> None:
    """Write, sync and remove a file, so that an unusable folder is reported at the start."""
    path = root / _PROBE
    write_temporary(files, path, [memoryview(b"oneflower\n")])
    files.unlink(temporary(path))


def require_space(files: Files, root: Path, *groups: Arrays) -> None:
    """Raise StateError if the disk has no space for these arrays."""
    needed = sum(array.nbytes for group in groups for array in group.values())
    try:
        free = files.free_bytes(root)
    except OSError as error:
        raise state_error(error, "asking for the free space", root) from error
    if free < needed:
        raise StateError(
            f"the disk of {root} has {free} bytes free, a checkpoint of this model takes {needed}. "
            "Free space on it, enlarge it, or lower FL_CHECKPOINT_KEEP."
        )


def set_aside(files: Files, root: Path, number: int, reason: str) -> str:
    """Rename every file of a round to `<name>.<reason>-<n>`; return `<reason>-<n>`. Nothing is deleted."""
    names = set(files.names(root))
    ending = _next_ending(names, round_files(number), reason)
    manifest, *data = round_files(number)
    _hide_links(files, root, (number,))
    if manifest in names:
        files.rename(root / manifest, root / f"{manifest}.{ending}")
        files.sync_folder(root)
    for name in data:
        if name in names:
            files.rename(root / name, root / f"{name}.{ending}")
    files.sync_folder(root)
    return ending


def set_history_aside(files: Files, root: Path, reason: str) -> None:
    """Rename the history to `<name>.<reason>-<n>`, once no committed manifest names it."""
    names = set(files.names(root))
    if HISTORY in names:
        files.rename(root / HISTORY, root / f"{HISTORY}.{_next_ending(names, (HISTORY,), reason)}")
        files.sync_folder(root)


def remove_rounds(files: Files, root: Path, rounds: Iterable[int]) -> None:
    """Delete rounds that retention does not keep.

    The manifests keep their temporary names until the data is deleted: they tell the next `open` that a
    crash interrupted a removal.
    """
    names = set(files.names(root))
    numbers = list(rounds)
    _hide_links(files, root, numbers)
    for number in numbers:
        files.rename(root / manifest_name(number), temporary(root / manifest_name(number)))
    files.sync_folder(root)
    for number in numbers:
        for name in round_files(number)[1:]:
            if name in names:
                files.unlink(root / name)
    for number in numbers:
        files.unlink(temporary(root / manifest_name(number)))


def recover(files: Files, root: Path) -> None:
    """Finish or undo what a crash interrupted: removals, renames that set a round aside, commits."""
    names = set(files.names(root))
    for name in sorted(names):
        number = data_round(name)
        if number is not None and manifest_name(number) not in names:
            _settle_orphan(files, root, name, number, names)
    for name in sorted(name for name in names if is_temporary(name)):
        files.unlink(root / name)


def update_links(files: Files, root: Path, *, newest: int | None, best: int | None) -> None:
    """Point the links and the copied manifest at the newest and the best round; None removes them.

    Each is replaced by a rename. Callers do this before they remove a round, so that no link dangles.
    """
    if newest is None:
        _remove(files, root, {LATEST, METADATA, BEST})
        return
    try:
        _copy_manifest(files, root, manifest_name(newest))
    finally:  # on a disk without links (SMB) the copied manifest is still updated, and vice versa
        _update_link(files, root, LATEST, model_name(newest))
        _update_link(files, root, BEST, None if best is None else model_name(best))


def _settle_orphan(files: Files, root: Path, name: str, number: int, names: set[str]) -> None:
    """Handle a data file that has no manifest.

    If a crash interrupted setting the round aside, finish that: the data must not be deleted. Otherwise
    delete a file that our own interrupted commit or removal left, and set any other file aside.
    """
    ending = _unfinished_ending(names, number, name)
    if ending is None and temporary(root / manifest_name(number)).name in names:
        files.unlink(root / name)
        return
    ending = ending or _next_ending(names, round_files(number), "uncommitted")
    files.rename(root / name, root / f"{name}.{ending}")
    log.warning("file set aside file=%s as=%s.%s reason=it has no manifest", name, name, ending)


def _unfinished_ending(names: set[str], number: int, name: str) -> str | None:
    """Return the ending under which the manifest was set aside if this file was not yet renamed to it."""
    for other in sorted(names, reverse=True):
        parsed = parse_set_aside(other)
        if parsed and parsed.name == manifest_name(number):
            ending = f"{parsed.reason}-{parsed.number}"
            if f"{name}.{ending}" not in names:
                return ending
    return None


def _next_ending(names: set[str], of: Collection[str], reason: str) -> str:
    taken = [parsed.number for parsed in map(parse_set_aside, names) if parsed and parsed.name in of]
    return f"{reason}-{max(taken, default=0) + 1}"


def _copy_manifest(files: Files, root: Path, name: str) -> None:
    content = _read(files, root / name)
    if _read_or_none(files, root / METADATA) != content:
        replace_file(files, root / METADATA, content)


def _update_link(files: Files, root: Path, name: str, target: str | None) -> None:
    """Point a link at its target, and make it and the copied manifest durable; None removes it."""
    current = _link_target(files, root / name)
    if target is None and current is not None:
        files.unlink(root / name)
    elif target is not None and current != target:
        replace_link(files, root / name, target)
        files.sync_folder(root)


def _hide_links(files: Files, root: Path, rounds: Collection[int]) -> None:
    """Remove links that still point at these rounds because a full disk prevented their update."""
    models = {model_name(number) for number in rounds}
    for name in (LATEST, BEST):
        if _link_target(files, root / name) in models:
            files.unlink(root / name)


def _link_target(files: Files, path: Path) -> str | None:
    """Return a link's target: None if there is no link, empty if the name is not that of a link."""
    try:
        return files.read_link(path)
    except FileNotFoundError:
        return None
    except OSError:
        return ""


def _remove(files: Files, root: Path, names: set[str]) -> None:
    for name in sorted(names & set(files.names(root))):
        files.unlink(root / name)


def _read_or_none(files: Files, path: Path) -> bytes | None:
    try:
        return _read(files, path)
    except OSError:
        return None


def _read(files: Files, path: Path) -> bytes:
    with files.open(path) as file:
        content = file.read(LARGEST_MANIFEST + 1)
    if len(content) > LARGEST_MANIFEST:
        raise OSError(errno.EFBIG, f"a manifest has no more than {LARGEST_MANIFEST} bytes")
    return content
