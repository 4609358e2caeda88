"""Cache of a folder's ledger: read on first use, and again when it may be out of date."""

import logging
from collections.abc import Collection
from pathlib import Path

from oneflower.checkpoints.files import Files, state_error
from oneflower.checkpoints.folder import set_history_aside
from oneflower.checkpoints.ledger import Ledger
from oneflower.checkpoints.names import HISTORY
from oneflower.checkpoints.signing import Signer
from oneflower.quality import Wanted

log = logging.getLogger(__name__)


class LedgerCache:
    """The ledger of one folder, read when needed. Raises StateError if it cannot be read.

    Parameters
    ----------
    wanted : Wanted | None
        The metric that ranks the rounds; None takes the one in the newest manifest.
    """

    def __init__(self, files: Files, root: Path, wanted: Wanted | None, signer: Signer | None = None) -> None:
        self._files = files
        self._root = root
        self._wanted = wanted
        self.signer = signer
        self._ledger: Ledger | None = None

    def current(self) -> Ledger:
        """Return the ledger of all committed rounds."""
        if self._ledger is None:
            self._ledger = self.read(None)
        return self._ledger

    def read(self, rounds: Collection[int] | None) -> Ledger:
        """Read the ledger as it would be if only these rounds were committed; None means all."""
        try:
            return Ledger.read(
                self._files, self._root, wanted=self._wanted, rounds=rounds, signer=self.signer
            )
        except OSError as error:
            raise state_error(error, "reading the committed rounds", self._root) from error

    def take(self, number: int | None) -> Ledger:
        """Return the ledger that a commit of round `number` extends; None extends the newest round.

        The caller changes it, so it leaves the cache until `put_back`.
        """
        ledger = self.current()
        if ledger.unreadable or ledger.size_bytes != self._history_size():
            self.invalidate()  # another program has changed the file, or it can be read again
            ledger = self.current()
        if ledger.unreadable:
            self._restart_history()
            ledger = self.read(None)
        self.invalidate()
        if number is None or ledger.number < number:
            return ledger
        return self.read([other for other in ledger.committed if other < number])

    def put_back(self, ledger: Ledger) -> None:
        """Cache a ledger after its commit, unless it lacks later rounds that are committed too."""
        self._ledger = ledger if ledger.whole else None

    def invalidate(self) -> None:
        """Drop the cached ledger: the next use reads the folder."""
        self._ledger = None

    def forget(self, rounds: Collection[int]) -> None:
        """Remove rounds that retention has deleted."""
        if self._ledger is not None:
            self._ledger.committed.difference_update(rounds)

    def _restart_history(self) -> None:
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
