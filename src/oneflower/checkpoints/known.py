"""The ledger of a folder: read when it is first asked for, and again when it may not be true any more."""

import logging
from collections.abc import Collection
from pathlib import Path

from oneflower.checkpoints.files import Files
from oneflower.checkpoints.folder import set_history_aside
from oneflower.checkpoints.ledger import Ledger
from oneflower.checkpoints.names import HISTORY
from oneflower.checkpoints.trouble import state_error
from oneflower.quality import Wanted

log = logging.getLogger(__name__)


class Known:
    """What the store knows of its folder. StateError where that cannot be read.

    Parameters
    ----------
    wanted : Wanted | None
        By what rounds are judged; as the newest manifest says where it is not given.
    """

    def __init__(self, files: Files, root: Path, wanted: Wanted | None) -> None:
        self._files = files
        self._root = root
        self._wanted = wanted
        self._ledger: Ledger | None = None

    def now(self) -> Ledger:
        """Return what is known of the whole folder."""
        if self._ledger is None:
            self._ledger = self.of(None)
        return self._ledger

    def of(self, rounds: Collection[int] | None) -> Ledger:
        """Read what would be known if these rounds alone were committed."""
        try:
            return Ledger.read(self._files, self._root, wanted=self._wanted, rounds=rounds)
        except OSError as error:
            raise state_error(error, "reading what is committed", self._root) from error

    def before(self, number: int | None) -> Ledger:
        """Hand out what a commit of round `number`, or a note, goes on from, until it is given to `keep`."""
        ledger = self.now()
        if ledger.unreadable or ledger.size_bytes != self._history_size():
            self.drop()  # somebody has changed the file, or it can be read again
            ledger = self.now()
        if ledger.unreadable:
            self._begin_history_again()
            ledger = self.of(None)
        self.drop()
        if number is None or ledger.number < number:
            return ledger
        return self.of([other for other in ledger.committed if other < number])

    def keep(self, ledger: Ledger) -> None:
        """Take back what was handed out, after its commit, unless later rounds are committed beside it."""
        self._ledger = ledger if ledger.whole else None

    def drop(self) -> None:
        """Read again when asked next."""
        self._ledger = None

    def forget(self, rounds: Collection[int]) -> None:
        """Note that retention has removed rounds."""
        if self._ledger is not None:
            self._ledger.committed.difference_update(rounds)

    def _begin_history_again(self) -> None:
        try:
            set_history_aside(self._files, self._root, "damaged")
        except OSError as error:
            raise state_error(error, "setting the history aside", self._root) from error
        log.warning("history set aside folder=%s reason=it cannot be read", self._root)

    def _history_size(self) -> int:
        try:
            with self._files.open(self._root / HISTORY) as file:
                return file.seek(0, 2)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise state_error(error, "reading the history", self._root) from error
