"""The folder's bookkeeping: what is committed, what is set aside, what a crash left behind.

A round goes out of the committed ones by losing its manifest first, and that is made durable before its
data files are touched. So no crash can leave a manifest whose files are gone.
"""

import logging
from collections.abc import Collection, Iterable
from pathlib import Path

from oneflower.checkpoints.files import Files
from oneflower.checkpoints.names import (
    BEST,
    HISTORY,
    LATEST,
    METADATA,
    aside,
    data_round,
    is_temporary,
    manifest_name,
    manifest_round,
    model_name,
    round_files,
    temporary,
)
from oneflower.checkpoints.writing import replace_file, replace_link

log = logging.getLogger(__name__)


def make_folder(files: Files, path: Path) -> None:
    """Make the folder and its parents durably: a folder that a crash undoes takes its commits with it."""
    try:
        files.make_folder(path)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_folder(files, path.parent)
        files.make_folder(path)
    files.sync_folder(path.parent)


def committed_rounds(files: Files, root: Path) -> list[int]:
    """Return the rounds that have a manifest, oldest first."""
    rounds = (manifest_round(name) for name in files.names(root))
    return sorted(number for number in rounds if number is not None)


def set_aside(files: Files, root: Path, number: int, reason: str) -> str:
    """Rename every file of a round to `<name>.<reason>-<n>` and return that ending. Nothing is deleted."""
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
    """Rename the history to `<name>.<reason>-<n>`, when no committed manifest names it any more."""
    names = set(files.names(root))
    if HISTORY in names:
        files.rename(root / HISTORY, root / f"{HISTORY}.{_next_ending(names, (HISTORY,), reason)}")
        files.sync_folder(root)


def remove_rounds(files: Files, root: Path, rounds: Iterable[int]) -> None:
    """Remove rounds that retention lets go.

    The manifests are hidden under their temporary names until the data are gone: they tell the next
    opening that a crash interrupted a removal.
    """
    names = set(files.names(root))
    gone = list(rounds)
    _hide_links(files, root, gone)
    for number in gone:
        files.rename(root / manifest_name(number), temporary(root / manifest_name(number)))
    files.sync_folder(root)
    for number in gone:
        for name in round_files(number)[1:]:
            if name in names:
                files.unlink(root / name)
    for number in gone:
        files.unlink(temporary(root / manifest_name(number)))


def recover(files: Files, root: Path) -> None:
    """Finish or undo what a crash interrupted: removals, settings aside, commits that did not happen."""
    names = set(files.names(root))
    for name in sorted(names):
        number = data_round(name)
        if number is not None and manifest_name(number) not in names:
            _settle_stray(files, root, name, number, names)
    for name in sorted(name for name in names if is_temporary(name)):
        files.unlink(root / name)


def point(files: Files, root: Path, *, newest: int | None, best: int | None) -> None:
    """Make the links and the copied manifest show the newest and the best round; without a round they go.

    Each is replaced by a rename. Before a round goes away they are pointed elsewhere, so that none dangles.
    """
    if newest is None:
        _remove(files, root, {LATEST, METADATA, BEST})
        return
    try:
        _copy_manifest(files, root, manifest_name(newest))
    finally:  # a disk without links (SMB) still shows the newest manifest, and the other way round
        _point_link(files, root, LATEST, model_name(newest))
        _point_link(files, root, BEST, None if best is None else model_name(best))


def _settle_stray(files: Files, root: Path, name: str, number: int, names: set[str]) -> None:
    """Deal with a data file without its manifest.

    A setting aside that a crash interrupted comes first: its data may not go with a commit or a removal
    that was under way too. Then ours goes, and anyone else's is set aside.
    """
    ending = _unfinished_ending(names, number, name)
    if ending is None and temporary(root / manifest_name(number)).name in names:
        files.unlink(root / name)
        return
    ending = ending or _next_ending(names, round_files(number), "uncommitted")
    files.rename(root / name, root / f"{name}.{ending}")
    log.warning("file set aside file=%s as=%s.%s reason=it has no manifest", name, name, ending)


def _unfinished_ending(names: set[str], number: int, name: str) -> str | None:
    """Return the ending of a setting aside that renamed the manifest and not yet this file."""
    for other in sorted(names, reverse=True):
        put = aside(other)
        if put and put.name == manifest_name(number):
            ending = f"{put.reason}-{put.number}"
            if f"{name}.{ending}" not in names:
                return ending
    return None


def _next_ending(names: set[str], of: Collection[str], reason: str) -> str:
    taken = [put.number for put in map(aside, names) if put and put.name in of]
    return f"{reason}-{max(taken, default=0) + 1}"


def _copy_manifest(files: Files, root: Path, name: str) -> None:
    with files.open(root / name) as file:
        content = file.read()
    if _content(files, root / METADATA) != content:
        replace_file(files, root / METADATA, content)


def _point_link(files: Files, root: Path, name: str, target: str | None) -> None:
    """Point a link where it is not right, and make it and the copied manifest durable; None removes it."""
    shown = _shown(files, root / name)
    if target is None and shown is not None:
        files.unlink(root / name)
    elif target is not None and shown != target:
        replace_link(files, root / name, target)
        files.sync_folder(root)


def _hide_links(files: Files, root: Path, rounds: Collection[int]) -> None:
    """Remove links that still show rounds about to go, where a full disk kept them from being replaced."""
    models = {model_name(number) for number in rounds}
    for name in (LATEST, BEST):
        if _shown(files, root / name) in models:
            files.unlink(root / name)


def _shown(files: Files, path: Path) -> str | None:
    """Return what a link shows: None where there is none, nothing where something else bears its name."""
    try:
        return files.read_link(path)
    except FileNotFoundError:
        return None
    except OSError:
        return ""


def _remove(files: Files, root: Path, names: set[str]) -> None:
    for name in sorted(names & set(files.names(root))):
        files.unlink(root / name)


def _content(files: Files, path: Path) -> bytes | None:
    try:
        with files.open(path) as file:
            return file.read()
    except OSError:
        return None
