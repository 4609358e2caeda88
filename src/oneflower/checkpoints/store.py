"""The crash-safe checkpoint store of one training: one folder, one writer, durable commits."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from oneflower.checkpoints.commit import commit, record_history
from oneflower.checkpoints.files import Files, state_error
from oneflower.checkpoints.folder import (
    close_checkpoints,
    make_folder,
    probe,
    recover,
    remove_rounds,
    require_space,
    set_aside,
    set_history_aside,
    update_links,
)
from oneflower.checkpoints.ledger_cache import LedgerCache
from oneflower.checkpoints.lock import FolderLock
from oneflower.checkpoints.manifest import DamagedError
from oneflower.checkpoints.model import Checkpoint, Metrics, Saved
from oneflower.checkpoints.names import REJECTED, model_name
from oneflower.checkpoints.npz import Arrays, check_storable
from oneflower.checkpoints.reader import CheckpointReader
from oneflower.checkpoints.retention import KeepAll, Retention, rounds_to_delete
from oneflower.checkpoints.signing import Signer
from oneflower.errors import CheckpointError, OneflowerError
from oneflower.quality import Best, Wanted

log = logging.getLogger(__name__)


class CheckpointStore(CheckpointReader):
    """A checkpoint folder, open for its only writer.

    `open` (or `with store:`) takes the folder's lock, tests that the folder can be written, and cleans up
    after a crash. It raises CheckpointError if there is another writer, StateError if the folder cannot be
    used.

    Parameters
    ----------
    root : Path
        The folder; created by `open`.
    retention : Retention | None
        Which rounds are kept after each save, all by default; the newest and the best are always kept.
    wanted : Wanted | None
        The metric that selects the best round; None takes the one in the newest manifest.
    lock_wait_s : float
        Seconds that `open` waits for another writer to end.
    """

    def __init__(  # noqa: PLR0913 - settings, and the interfaces to clock and disk
        self,
        root: Path,
        *,
        retention: Retention | None = None,
        wanted: Wanted | None = None,
        lock_wait_s: float = 0.0,
        files: Files | None = None,
        signer: Signer | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(root, files=files, signer=signer)
        self._retention = retention or KeepAll()
        self._ledgers = LedgerCache(self._files, root, wanted, signer)
        self._lock_wait_s = lock_wait_s
        self._now = now
        self._lock = FolderLock(root)
        self._opened = False

    def open(self) -> Self:
        """Become the folder's only writer."""
        try:
            make_folder(self._files, self.root)
            self._lock.acquire(self._lock_wait_s)
            self._ledgers.invalidate()
            probe(self._files, self.root)
            recover(self._files, self.root)
            close_checkpoints(self.root)
        except OSError as error:
            self._lock.release()
            raise state_error(error, "opening the checkpoints", self.root) from error
        self._opened = True
        self._update_links()
        return self

    def close(self) -> None:
        """Release the folder for another writer."""
        self._lock.release()
        self._opened = False

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def require_space(self, arrays: Arrays, state: Arrays | None = None) -> None:
        """Raise StateError if the disk has no space for one more checkpoint of this model."""
        require_space(self._files, self.root, arrays, state or {})

    def sign_as(self, signer: Signer) -> None:
        """Sign from now on for this training, and take no other's manifest for ours."""
        self.signer = self._ledgers.signer = signer
        self._ledgers.invalidate()

    def recorded(self) -> dict[str, int]:
        """Return the newest recorded round of each phase: a save needs only the metrics of later ones."""
        return dict(self._ledgers.current().recorded)

    def best(self) -> Best | None:
        """Return the best committed round; None without a metric that ranks them."""
        return self._ledgers.current().best.best()

    def save(self, checkpoint: Checkpoint) -> Saved:
        """Commit a checkpoint; when this returns, the round survives a crash and a power cut.

        Raises
        ------
        AppError
            A metric is not valid; the text names it.
        CheckpointError
            An array cannot be stored, or a written file cannot be read back: nothing was committed.
        StateError
            The folder cannot be written.
        """
        started = time.monotonic()
        check_storable(checkpoint.arrays)
        check_storable(checkpoint.state)
        self._require_writer()
        ledger = self._ledgers.take(checkpoint.round)
        entry = ledger.entry(checkpoint.round, checkpoint.metrics)
        ledger.take(checkpoint.round, entry)
        try:
            done = commit(
                self._files,
                self.root,
                checkpoint,
                entry=entry,
                best=ledger.best.best(),
                best_metric=ledger.best.wanted.text,
                time=self._now().isoformat(),
                signer=self.signer,
            )
        except OSError as error:
            doing = f"saving the checkpoint of round {checkpoint.round}"
            raise state_error(error, doing, self.root) from error
        if done.fresh:
            self._ledgers.put_back(ledger)
        self._after_commit(checkpoint.round)
        return Saved(
            round=checkpoint.round,
            path=self.root / model_name(checkpoint.round),
            size_bytes=sum(record.size_bytes for record in done.records),
            seconds=time.monotonic() - started,
            sha256=done.records[0].sha256,
        )

    def note(self, metrics: Metrics) -> None:
        """Record metrics of committed rounds: the client evaluation of the last one.

        It can make the last round the best. Raises as `save`; committed rounds are not affected.
        """
        self._require_writer()
        ledger = self._ledgers.take(None)
        if not ledger.committed:
            return
        entry = ledger.entry(ledger.number, metrics)
        ledger.take(ledger.number, entry)
        try:
            record_history(self._files, self.root, entry)
        except OSError as error:
            raise state_error(error, "recording metrics", self.root) from error
        self._ledgers.put_back(ledger)
        self._after_commit(ledger.number)

    def rollback(self, number: int) -> tuple[int, ...]:
        """Make `number` the newest round by setting later ones aside; return those. Nothing is deleted."""
        self.verify(number)
        return self._set_all_aside([other for other in self.rounds() if other > number], "rolledback")

    def reject(self, number: int) -> tuple[int, ...]:
        """Set round `number` and later ones aside, because nobody can train from them; return those."""
        return self._set_all_aside([other for other in self.rounds() if other >= number], REJECTED)

    def start_afresh(self) -> tuple[int, ...]:
        """Set every committed round and the history aside, for a training that does not resume."""
        rounds = self._set_all_aside(self.rounds(), "superseded")
        try:
            set_history_aside(self._files, self.root, "superseded")
        except OSError as error:
            raise state_error(error, "setting the history aside", self.root) from error
        self._ledgers.invalidate()
        return rounds

    def prune(self, policy: Retention, *, dry_run: bool = False) -> tuple[int, ...]:
        """Delete the intact rounds that the policy does not keep; return them. Damaged rounds stay."""
        intact = []
        for number in self.rounds():
            with suppress(CheckpointError):
                intact.append(self.verify(number).round)
        best = self._ledgers.read(intact).best.best()
        rounds = rounds_to_delete(intact, best.round if best else None, policy)
        if dry_run or not rounds:
            return rounds
        self._require_writer()
        self._link(self.rounds()[-1], best)
        self._delete(rounds)
        return rounds

    def _after_commit(self, number: int) -> None:
        """Update the links and delete old rounds. The round is committed, so a failure here only warns."""
        self._update_links()
        try:
            ledger = self._ledgers.current()
            best = ledger.best.best()
            rounds = rounds_to_delete(ledger.committed, best.round if best else None, self._retention)
            if rounds := tuple(other for other in rounds if other != number):
                self._delete(rounds)
                log.info("old checkpoints removed rounds=%s", ",".join(map(str, rounds)))
        except OneflowerError as error:
            log.warning("old checkpoints not removed folder=%s reason=%s", self.root, error)

    def _delete(self, rounds: Sequence[int]) -> None:
        try:
            remove_rounds(self._files, self.root, rounds)
        except OSError as error:
            self._ledgers.invalidate()
            raise state_error(error, "removing old checkpoints", self.root) from error
        self._ledgers.forget(rounds)

    def _update_links(self) -> None:
        """Link the newest and the best round; a failure is only logged."""
        try:
            ledger = self._ledgers.current()
            self._link(max(ledger.committed, default=None), ledger.best.best())
        except OneflowerError as error:
            log.warning("latest checkpoint not linked folder=%s reason=%s", self.root, error)

    def _link(self, newest: int | None, best: Best | None) -> None:
        try:
            update_links(self._files, self.root, newest=newest, best=best.round if best else None)
        except OSError as error:
            log.warning("latest checkpoint not linked folder=%s reason=%s", self.root, error)

    def _skip_damaged(self, number: int, damage: DamagedError) -> None:
        """Log the damage and set the round aside; on a read-only disk only log it."""
        super()._skip_damaged(number, damage)
        if not self._lock.held():
            return
        self._ledgers.invalidate()
        try:
            ending = set_aside(self._files, self.root, number, "damaged")
        except OSError as error:
            log.warning("checkpoint not set aside round=%d reason=%s", number, error)
        else:
            log.warning("checkpoint set aside round=%d as=*.%s", number, ending)

    def _after_skipping(self) -> None:
        """Link what is left: for each round it would read the folder again."""
        if self._lock.held():
            self._update_links()

    def _set_all_aside(self, rounds: Sequence[int], reason: str) -> tuple[int, ...]:
        """Set rounds aside, the newest first: a crash in between never leaves a gap in the rounds."""
        self._require_writer()
        if not rounds:
            return ()
        left = [number for number in self.rounds() if number not in rounds]
        self._link(max(left, default=None), self._ledgers.read(left).best.best())
        self._ledgers.invalidate()
        try:
            for number in reversed(rounds):
                set_aside(self._files, self.root, number, reason)
        except OSError as error:
            raise state_error(error, "setting checkpoints aside", self.root) from error
        self._update_links()
        return tuple(rounds)

    def _require_writer(self) -> None:
        """Check that we hold the lock; create the folder again if it was removed."""
        if not self._opened:
            raise CheckpointError(
                f"the checkpoints in {self.root} are not open for writing. Call open() or use `with store:`."
            )
        if not self._lock.held():
            log.warning("checkpoint folder created again folder=%s reason=it was removed", self.root)
            self.open()
