"""The crash-safe checkpoint store of one training: one folder, one writer, every commit a promise."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from oneflower.checkpoints.commit import commit
from oneflower.checkpoints.files import Files
from oneflower.checkpoints.folder import make_folder, point_at_newest, recover, remove_rounds, set_aside
from oneflower.checkpoints.lock import FolderLock
from oneflower.checkpoints.manifest import DamagedError, Manifest
from oneflower.checkpoints.model import Checkpoint, Saved
from oneflower.checkpoints.names import model_name, temporary
from oneflower.checkpoints.npz import Arrays, check_storable
from oneflower.checkpoints.reader import CheckpointReader
from oneflower.checkpoints.retention import (
    DEFAULT_MEASURES,
    Best,
    KeepAll,
    Measure,
    Retention,
    best_round,
    doomed,
)
from oneflower.checkpoints.trouble import state_error
from oneflower.checkpoints.writing import write_temporary
from oneflower.errors import CheckpointError, StateError

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
    measures : Sequence[Measure]
        By what the best round is found.
    lock_wait_s : float
        Seconds that `open` waits for another writer to end.
    """

    def __init__(  # noqa: PLR0913 - two settings, and the seams for time and disk
        self,
        root: Path,
        *,
        retention: Retention | None = None,
        measures: Sequence[Measure] = DEFAULT_MEASURES,
        lock_wait_s: float = 0.0,
        files: Files | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(root, files=files)
        self._retention = retention or KeepAll()
        self._measures = tuple(measures)
        self._lock_wait_s = lock_wait_s
        self._now = now
        self._lock = FolderLock(root)
        self._opened = False

    def open(self) -> Self:
        """Become the folder's one writer, or say why not."""
        try:
            make_folder(self._files, self.root)
            self._lock.acquire(self._lock_wait_s)
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

    def save(self, checkpoint: Checkpoint) -> Saved:
        """Commit a checkpoint; when this returns, the round survives a crash and a power cut."""
        started = time.monotonic()
        if not checkpoint.arrays:
            raise CheckpointError("a checkpoint without arrays: expected the model's named arrays.")
        check_storable(checkpoint.arrays)
        check_storable(checkpoint.state)
        self._require_writer()
        best = self._best(checkpoint)
        try:
            records = commit(self._files, self.root, checkpoint, best=best, time=self._now().isoformat())
        except OSError as error:
            raise state_error(
                error, f"saving the checkpoint of round {checkpoint.round}", self.root
            ) from error
        self._after_commit(checkpoint)
        return Saved(
            round=checkpoint.round,
            path=self.root / model_name(checkpoint.round),
            size_bytes=sum(record.size_bytes for record in records),
            seconds=time.monotonic() - started,
            sha256=records[0].sha256,
        )

    def rollback(self, number: int) -> tuple[int, ...]:
        """Make `number` the newest: later rounds are set aside, nothing is deleted. Returns those rounds."""
        self._require_writer()
        self.verify(number)
        return self._set_all_aside([other for other in self.rounds() if other > number], "rolledback")

    def start_afresh(self) -> tuple[int, ...]:
        """Set every committed round aside, for a training that must not resume. Returns those rounds."""
        self._require_writer()
        return self._set_all_aside(self.rounds(), "superseded")

    def prune(self, policy: Retention, *, dry_run: bool = False) -> tuple[int, ...]:
        """Let go what the policy does not keep, judged over the rounds that verify. Returns those rounds."""
        good: dict[int, Manifest] = {}
        for number in self.rounds():
            with suppress(CheckpointError):
                good[number] = self.verify(number)
        metrics = good[max(good)].metrics if good else {}
        gone = doomed(tuple(good), metrics, policy, self._measures)
        if dry_run or not gone:
            return gone
        self._require_writer()
        try:
            remove_rounds(self._files, self.root, gone)
        except OSError as error:
            raise state_error(error, "removing old checkpoints", self.root) from error
        return gone

    def _best(self, checkpoint: Checkpoint) -> Best | None:
        return best_round({*self.rounds(), checkpoint.round}, checkpoint.metrics, self._measures)

    def _after_commit(self, checkpoint: Checkpoint) -> None:
        """Show the newest and let old ones go. The commit stands already, so a failure here only warns."""
        self._tidy_pointers()
        try:
            gone = doomed(self.rounds(), checkpoint.metrics, self._retention, self._measures)
            if gone := tuple(number for number in gone if number != checkpoint.round):
                remove_rounds(self._files, self.root, gone)
                log.info("old checkpoints removed rounds=%s", ",".join(map(str, gone)))
        except (OSError, StateError) as error:
            log.warning("old checkpoints not removed folder=%s reason=%s", self.root, error)

    def _tidy_pointers(self) -> None:
        try:
            point_at_newest(self._files, self.root)
        except OSError as error:
            log.warning("latest checkpoint not shown folder=%s reason=%s", self.root, error)

    def _pass_over(self, number: int, damage: DamagedError) -> None:
        """Set a damaged round aside and say what was wrong; on a read-only disk, only say so."""
        super()._pass_over(number, damage)
        if not self._lock.held():
            return
        try:
            ending = set_aside(self._files, self.root, number, "damaged")
        except OSError as error:
            log.warning("checkpoint not set aside round=%d reason=%s", number, error)
        else:
            log.warning("checkpoint set aside round=%d as=*.%s", number, ending)
        self._tidy_pointers()

    def _set_all_aside(self, rounds: Sequence[int], reason: str) -> tuple[int, ...]:
        """Newest first: a crash in between leaves an earlier round the newest, never a gap."""
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
        """Check that we may write; a folder that was removed under the run is made anew."""
        if not self._opened:
            raise CheckpointError(
                f"the checkpoints in {self.root} are not open for writing. Call open() or use `with store:`."
            )
        if not self._lock.held():
            log.warning(
                "checkpoint folder opened anew folder=%s reason=it was removed or replaced", self.root
            )
            self.open()
