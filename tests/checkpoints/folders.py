"""Checkpoint folders as values: what lies in one, how to lay it down, and which were checked already."""

import tempfile
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from oneflower.checkpoints import CheckpointStore

from .conftest import make, told

# All saves happen at one moment, so that equal checkpoints are equal files.
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def at_one_moment():
    return MOMENT


def content_of(root):
    """Return what lies in a folder: names to bytes, or to text for a link's target; None for no folder."""
    if not root.exists():
        return None
    return {
        path.name: str(path.readlink()) if path.is_symlink() else path.read_bytes() for path in root.iterdir()
    }


def lay_down(content, root):
    """Make a folder of this content; none for None."""
    if content is None:
        return
    root.mkdir(parents=True)
    for name, what in content.items():
        if isinstance(what, str):
            (root / name).symlink_to(what)
        else:
            (root / name).write_bytes(what)


@cache
def committed(*rounds):
    """Return the content of a folder in which these rounds were saved without a fault."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "checkpoints"
        with CheckpointStore(root, now=at_one_moment) as store:
            for number in rounds:
                store.save(make(number))
        return content_of(root)


class Checked:
    """Which contents were checked for which promise. A check reads nothing but the folder, so once is enough.

    A promise is given as the checkpoints and texts that it is made of.
    """

    def __init__(self):
        self._keys = set()

    def is_new(self, content, *promise):
        """Tell whether this content was not yet checked for this promise, and remember it."""
        parts = [[told(each) for each in part] if isinstance(part, list) else part for part in promise]
        key = (None if content is None else frozenset(content.items()), repr(parts))
        is_new = key not in self._keys
        self._keys.add(key)
        return is_new
