"""The crash-safe checkpoint store of one training: one folder, one writer, every commit a promise."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from oneflower.checkpoints.commit import commit, record_history
from oneflower.checkpoints.files import Files
from oneflower.checkpoints.folder import (
    make_folder,
    point,
    recover,
    remove_rounds,
    set_aside,
    set_history_aside,
)
from oneflower.checkpoints.known import Known
from oneflower.checkpoints.lock import FolderLock
from oneflower.checkpoints.manifest import DamagedError
from oneflower.checkpoints.model import Checkpoint, Metrics, Saved
from oneflower.checkpoints.names import model_name, temporary
from oneflower.checkpoints.npz import Arrays, check_storable
from oneflower.checkpoints.reader import CheckpointReader
from oneflower.checkpoints.retention import KeepAll, Retention, rounds_to_delete
from oneflower.checkpoints.trouble import state_error
from oneflower.checkpoints.writing import write_temporary
from oneflower.errors import CheckpointError, OneflowerError, StateError
from oneflower.quality import Best, Wanted

log = logging.getLogger(__name__)

_PROBE: Final = "checkpoint_probe"


class CheckpointStore(CheckpointReader):
    """A checkpoint folder with its one writer.

    `open` (or `with store:`) takes the folder's lock, proves that the folder can be written, and tidies what
    a crash left. CheckpointError refuses a second writer; StateError says why the folder cannot be used.

    Parameters
    ----------
    root : Path
        The folder; made by `open`.
    retention : Retention | None
        Which rounds are kept after each save, all by default; the newest and the best always are.
    wanted : Wanted | None
        By what the best round is found; as the newest manifest says where it is not given.
    lock_wait_s : float
        Seconds that `open` waits for another writer to end.
    """

    def __init__(  # noqa: PLR0913 - two settings, and the seams for time and disk
        self,
        root: Path,
        *,
        retention: Retention | None = None,
        wanted: Wanted | None = None,
        lock_wait_s: float = 0.0,
        files: Files | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(root, files=files)
        self._retention = retention or KeepAll()
        self._known = Known(self._files, root, wanted)
        self._lock_wait_s = lock_wait_s
        self._now = now
        self._lock = FolderLock(root)
        self._opened = False

    def open(self) -> Self:
        """Become the folder's one writer, or say why not."""
        try:
            make_folder(self._files, self.root)
            self._lock.acquire(self._lock_wait_s)
            self._known.drop()
            self._probe()
            recover(self._files, self.root)
        except OSError as error:
            self._lock.release()
            raise state_error(error, "opening the checkpoints", self.root) from error
        self._opened = True
        self._tidy_pointers()
        return self

    def close(self) -> None:
        """Let another writer in."""
        self._lock.release()
        self._opened = False

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def require_space(self, arrays: Arrays, state: Arrays | None = None) -> None:
        """Raise StateError when the disk has no room for one more checkpoint of this model."""
        needed = sum(array.nbytes for group in (arrays, state or {}) for array in group.values())
        try:
            free = self._files.free_bytes(self.root)
        except OSError as error:
            raise state_error(error, "asking for the free space", self.root) from error
        if free < needed:
            raise StateError(
                f"the disk of {self.root} has {free} bytes free, a checkpoint of this model takes {needed}. "
                "Free space on it, give it more, or lower FL_CHECKPOINT_KEEP."
            )

    def recorded(self) -> dict[str, int]:
        """Return the newest round of each phase whose metrics are recorded: a save needs only later ones."""
        return dict(self._known.now().recorded)

    def best(self) -> Best | None:
        """Return the best of the committed rounds, None where no metric says which."""
        return self._known.now().best.best()

    def save(self, checkpoint: Checkpoint) -> Saved:
        """Commit a checkpoint; when this returns, the round survives a crash and a power cut.

        Raises
        ------
        AppError
            A metric cannot be kept; the text names it.
        CheckpointError
            An array cannot be kept, or what was written cannot be read back: nothing was committed.
        StateError
            The folder cannot be written.
        """
        started = time.monotonic()
        if not checkpoint.arrays:
            raise CheckpointError("a checkpoint without arrays: expected the model's named arrays.")
        check_storable(checkpoint.arrays)
        check_storable(checkpoint.state)
        self._require_writer()
        ledger = self._known.before(checkpoint.round)
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
            )
        except OSError as error:
            doing = f"saving the checkpoint of round {checkpoint.round}"
            raise state_error(error, doing, self.root) from error
        if done.fresh:
            self._known.keep(ledger)
        self._after_commit(checkpoint.round)
        return Saved(
            round=checkpoint.round,
            path=self.root / model_name(checkpoint.round),
            size_bytes=sum(record.size_bytes for record in done.records),
            seconds=time.monotonic() - started,
            sha256=done.records[0].sha256,
        )

    def note(self, metrics: Metrics) -> None:
        """Record what was measured of rounds that are committed already: the evaluation after the last one.

        It can make the last round the best. Errors as of `save`; what is committed stays.
        """
        self._require_writer()
        ledger = self._known.before(None)
        if not ledger.committed:
            return
        entry = ledger.entry(ledger.number, metrics)
        ledger.take(ledger.number, entry)
        try:
            record_history(self._files, self.root, entry)
        except OSError as error:
            raise state_error(error, "recording metrics", self.root) from error
        self._known.keep(ledger)
        self._after_commit(ledger.number)

    def rollback(self, number: int) -> tuple[int, ...]:
        """Make `number` the newest: later rounds are set aside, nothing is deleted. Returns those rounds."""
        self._require_writer()
        self.verify(number)
        return self._set_all_aside([other for other in self.rounds() if other > number], "rolledback")

    def start_afresh(self) -> tuple[int, ...]:
        """Set every committed round and the history aside, for a training that must not resume."""
        self._require_writer()
        rounds = self._set_all_aside(self.rounds(), "superseded")
        try:
            set_history_aside(self._files, self.root, "superseded")
        except OSError as error:
            raise state_error(error, "setting the history aside", self.root) from error
        self._known.drop()
        return rounds

    def prune(self, policy: Retention, *, dry_run: bool = False) -> tuple[int, ...]:
        """Let go what the policy does not keep, judged over the rounds that verify. Returns those rounds."""
        good = []
        for number in self.rounds():
            with suppress(CheckpointError):
                good.append(self.verify(number).round)
        best = self._known.of(good).best.best()
        gone = rounds_to_delete(good, best.round if best else None, policy)
        if dry_run or not gone:
            return gone
        self._require_writer()
        self._point(self.rounds()[-1], best)
        self._remove(gone)
        return gone

    def _after_commit(self, number: int) -> None:
        """Show the newest and let old ones go. The commit stands already, so a failure here only warns."""
        self._tidy_pointers()
        try:
            ledger = self._known.now()
            best = ledger.best.best()
            gone = rounds_to_delete(ledger.committed, best.round if best else None, self._retention)
            if gone := tuple(other for other in gone if other != number):
                self._remove(gone)
                log.info("old checkpoints removed rounds=%s", ",".join(map(str, gone)))
        except OneflowerError as error:
            log.warning("old checkpoints not removed folder=%s reason=%s", self.root, error)

    def _remove(self, gone: Sequence[int]) -> None:
        try:
            remove_rounds(self._files, self.root, gone)
        except OSError as error:
            self._known.drop()
            raise state_error(error, "removing old checkpoints", self.root) from error
        self._known.forget(gone)

    def _tidy_pointers(self) -> None:
        """Show the newest and the best round; what cannot be shown is only warned of."""
        try:
            ledger = self._known.now()
            self._point(max(ledger.committed, default=None), ledger.best.best())
        except OneflowerError as error:
            log.warning("latest checkpoint not shown folder=%s reason=%s", self.root, error)

    def _point(self, newest: int | None, best: Best | None) -> None:
        try:
            point(self._files, self.root, newest=newest, best=best.round if best else None)
        except OSError as error:
            log.warning("latest checkpoint not shown folder=%s reason=%s", self.root, error)

    def _pass_over(self, number: int, damage: DamagedError) -> None:
        """Set a damaged round aside and say what was wrong; on a read-only disk, only say so."""
        super()._pass_over(number, damage)
        if not self._lock.held():
            return
        self._known.drop()
        try:
            ending = set_aside(self._files, self.root, number, "damaged")
        except OSError as error:
            log.warning("checkpoint not set aside round=%d reason=%s", number, error)
        else:
            log.warning("checkpoint set aside round=%d as=*.%s", number, ending)
        self._tidy_pointers()

    def _set_all_aside(self, rounds: Sequence[int], reason: str) -> tuple[int, ...]:
        """Newest first: a crash in between leaves an earlier round the newest, never a gap."""
        if not rounds:
            return ()
        left = [number for number in self.rounds() if number not in rounds]
        self._point(max(left, default=None), self._known.of(left).best.best())
        self._known.drop()
        try:
            for number in reversed(rounds):
                set_aside(self._files, self.root, number, reason)
        except OSError as error:
            raise state_error(error, "setting checkpoints aside", self.root) from error
        self._tidy_pointers()
        return tuple(rounds)

    def _probe(self) -> None:
        """Write, sync and remove a file now, so that a folder that cannot be used is found at boot."""
        probe = self.root / _PROBE
        write_temporary(self._files, probe, [memoryview(b"oneflower\n")])
        self._files.unlink(temporary(probe))

    def _require_writer(self) -> None:
        """Check that we may write; a folder that was removed is made again."""
        if not self._opened:
            raise CheckpointError(
                f"the checkpoints in {self.root} are not open for writing. Call open() or use `with store:`."
            )
        if not self._lock.held():
            log.warning("checkpoint folder opened anew folder=%s reason=it was removed", self.root)
            self.open()
