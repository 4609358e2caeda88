"""Whether anybody works with a state folder: `oneflower up` and `simulate` hold its lock while they run."""

import os
from pathlib import Path
from typing import Final

from oneflower.files import is_locked

LOCK_NAME: Final = "lock"
SUPERVISOR_LOCK_NAME: Final = "supervisor.lock"


def is_left(journal: Path) -> bool:
    """Tell whether the lock is beside this journal and nobody holds it: whoever trained there has ended.

    A run that `oneflower supervise` has submitted goes on without it, and a journal that was copied from
    another machine has no lock: of those nothing is said.
    """
    if os.path.lexists(journal.parent / SUPERVISOR_LOCK_NAME):
        return False
    return is_locked(journal.parent / LOCK_NAME) is False
