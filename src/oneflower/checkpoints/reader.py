"""Find and read the checkpoints of a folder, without changing the disk."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from oneflower.checkpoints.files import Files, OsFiles, state_error
from oneflower.checkpoints.folder import committed_rounds
from oneflower.checkpoints.history import History, Reading
from oneflower.checkpoints.manifest import DamagedError, Manifest
from oneflower.checkpoints.model import Checkpoint, Metrics, ModelSchema
from oneflower.checkpoints.names import REJECTED, manifest_name, manifest_round, parse_set_aside
from oneflower.checkpoints.reading import (
    history_or_empty,
    history_size,
    read_checkpoint,
    read_manifest,
    read_metrics,
    tell_left_out,
    verify_files,
)
from oneflower.checkpoints.signing import Signer, training_of
from oneflower.errors import CheckpointError

log = logging.getLogger(__name__)

T = TypeVar("T")
# A concurrent writer may replace a round while it is read, but not this often.
_MAX_READS: Final = 20
_MOST_DIFFERENCES: Final = 20
# Each that is set aside costs as much as the rounds that are left.
_MOST_DAMAGED: Final = 100


class MissingRoundError(CheckpointError):
    """A round is not committed, or was removed while it was read. That is not damage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointInfo:
    """A committed round: its manifest, or the `problem` if that cannot be read."""

    round: int
    manifest: Manifest | None
    problem: str | None


class CheckpointReader:
    """The checkpoints of one folder, read without a lock: a writer may be active at the same time.

    Errors: MissingRoundError for a round that does not exist (any more); CheckpointError for one that is
    damaged, of another model or of another schema; StateError for a folder that cannot be read now, which
    does not mean damage. Before damage is reported, the manifest is read again.
    """

    def __init__(self, root: Path, *, files: Files | None = None, signer: Signer | None = None) -> None:
        self.root = root
        self.signer = signer
        self._files = files or OsFiles()
        self._skipped = 0
        self._read_history: tuple[int, History] | None = None

    def rounds(self) -> tuple[int, ...]:
        """Return the committed rounds, oldest first; none if the folder does not exist."""
        try:
            return tuple(committed_rounds(self._files, self.root))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise state_error(error, "listing the checkpoints", self.root) from error

    def list(self) -> tuple[CheckpointInfo, ...]:
        """Return every committed round, oldest first, without reading its data."""
        infos = []
        for number in self.rounds():
            with suppress(MissingRoundError):
                infos.append(self._info(number))
        return tuple(infos)

    def set_aside(self) -> tuple[str, ...]:
        """Return the names of the files that were set aside and are not used."""
        try:
            return tuple(sorted(name for name in self._files.names(self.root) if parse_set_aside(name)))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise state_error(error, "listing the checkpoints", self.root) from error

    def training(self, number: int) -> str:
        """Return the identity of the training that signed a round's manifest; empty without a signature."""
        return training_of(self._manifest(number).content)

    def rejected(self) -> tuple[int, ...]:
        """Return the rounds that the training has gone back from, oldest first."""
        parsed = filter(None, map(parse_set_aside, self.set_aside()))
        numbers = (manifest_round(each.name) for each in parsed if each.reason == REJECTED)
        return tuple(sorted(number for number in numbers if number is not None))

    def latest(self, schema: ModelSchema | None = None) -> Checkpoint | None:
        """Return the newest checkpoint whose checksums verify; None if there is none.

        A damaged checkpoint is skipped with a log line (and set aside by the writer), and the one before it
        is used. With `schema`, a checkpoint of another model is an error that lists the differences.
        """
        self._skipped = 0
        try:
            return self._newest_good(schema)
        finally:
            if self._skipped:
                self._after_skipping()

    def _newest_good(self, schema: ModelSchema | None) -> Checkpoint | None:
        for _ in range(_MAX_READS):
            removed = False
            for number in reversed(self.rounds()):
                try:
                    return self._read(number, schema)
                except MissingRoundError:
                    removed = True
                except DamagedError as damage:
                    self._skip_damaged(number, damage)
                    self._skipped += 1
                    if self._skipped >= _MOST_DAMAGED:
                        raise self._too_many_damaged(number, damage) from damage
            if not removed:
                break
        return None

    def load(self, number: int, schema: ModelSchema | None = None) -> Checkpoint:
        """Return the checkpoint of one round; damage is an error, because no other round will do."""
        self._require_round(number)
        try:
            return self._read(number, schema)
        except DamagedError as damage:
            raise self._refusal(number, damage) from damage

    def verify(self, number: int) -> Manifest:
        """Verify every file of a round and return its manifest; CheckpointError says what is wrong."""
        self._require_round(number)
        try:
            return self._read_consistently(number, self._verified)
        except DamagedError as damage:
            raise self._refusal(number, damage) from damage

    def metrics(self) -> Metrics:
        """Return all metrics up to the newest checkpoint, with its client evaluation if it was recorded."""
        for info in reversed(self.list()):
            if info.manifest is not None:
                return self._metrics_of(info.manifest, self._history(info.manifest)).metrics
        return {}

    def metrics_problem(self, number: int) -> str | None:
        """Return what is wrong with the metrics up to a round; its model does not depend on them."""
        return self._read_consistently(number, self._metrics_damage)

    def _metrics_damage(self, manifest: Manifest) -> str | None:
        problem = self._metrics_of(manifest, self._history(manifest)).problem
        if problem is not None and not self._is_current(manifest):
            raise DamagedError(problem)  # read again by `_read_consistently`
        return problem

    def _metrics_of(self, manifest: Manifest, history: History) -> Reading:
        return read_metrics(manifest, history, signed=self.signer is not None)

    def _verified(self, manifest: Manifest) -> Manifest:
        verify_files(self._files, self.root, manifest)
        return manifest

    def _skip_damaged(self, number: int, damage: DamagedError) -> None:
        log.warning("checkpoint damaged round=%d folder=%s reason=%s", number, self.root, damage)

    def _after_skipping(self) -> None:
        """Do what is due once after damaged rounds; a reader does nothing."""

    def _read(self, number: int, schema: ModelSchema | None) -> Checkpoint:
        return self._read_consistently(number, lambda manifest: self._read_of(manifest, schema))

    def _read_of(self, manifest: Manifest, schema: ModelSchema | None) -> Checkpoint:
        _require_schema(manifest, schema)
        tell_left_out(history := history_or_empty(self._files, self.root), self.root)
        read = self._metrics_of(manifest, history)
        checkpoint = read_checkpoint(self._files, self.root, manifest, read.metrics)
        if read.problem is not None and self._is_current(manifest):
            log.warning(
                "metrics damaged, the model is good round=%d folder=%s reason=%s",
                manifest.round,
                self.root,
                read.problem,
            )
        return checkpoint

    def _history(self, manifest: Manifest) -> History:
        """Return the history; read it again if it lacks what the manifest names, and has another size now."""
        known, position = self._read_history, manifest.history
        if known is not None and (position is None or known[1].problem(position) is None):
            return known[1]
        size = history_size(self._files, self.root)
        if known is None or known[0] != size:
            known = self._read_history = (size, history_or_empty(self._files, self.root))
        return known[1]

    def _read_consistently(self, number: int, read: Callable[[Manifest], T]) -> T:
        """Return `read` of a round's manifest; repeat it if the manifest was replaced meanwhile."""
        try:
            for _ in range(_MAX_READS):
                manifest = self._manifest(number)
                try:
                    return read(manifest)
                except DamagedError:
                    if self._is_current(manifest):
                        raise
        except OSError as error:
            raise state_error(error, f"reading the checkpoint of round {number}", self.root) from error
        raise self._changing(number)

    def _changing(self, number: int) -> MissingRoundError:
        return MissingRoundError(
            f"the checkpoint of round {number} in {self.root} changes while it is read. "
            "Run the command again."
        )

    def _is_current(self, manifest: Manifest) -> bool:
        """Return whether this is still the round's manifest; MissingRoundError if the round is gone."""
        return self._manifest(manifest.round).content == manifest.content

    def _manifest(self, number: int) -> Manifest:
        """Read a round's manifest. One that is missing but listed has been replaced, and is read again."""
        for _ in range(_MAX_READS):
            try:
                return read_manifest(self._files, self.root, number, self.signer)
            except DamagedError as damage:
                if not self._is_there(number):
                    raise MissingRoundError(
                        f"the checkpoint of round {number} in {self.root} was removed while it was read, by "
                        "retention or because it was set aside. Choose another round."
                    ) from None
                if not isinstance(damage.__cause__, FileNotFoundError):
                    raise
        raise self._changing(number)

    def _is_there(self, number: int) -> bool:
        """Return whether a round has a manifest, without listing a folder of any number of them."""
        try:
            self._files.open(self.root / manifest_name(number)).close()
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    def _too_many_damaged(self, number: int, damage: DamagedError) -> CheckpointError:
        return CheckpointError(
            f"the newest {_MOST_DAMAGED} checkpoints in {self.root}, down to round {number}, are damaged: no "
            f"older ones are looked at. The last reason: {damage}. Remove them if they are not yours; "
            "restore them from a copy; or restart with FL_RESUME=never."
        )

    def _info(self, number: int) -> CheckpointInfo:
        try:
            manifest = self._manifest(number)
        except MissingRoundError:
            raise
        except CheckpointError as error:
            return CheckpointInfo(round=number, manifest=None, problem=str(error))
        except OSError as error:
            return CheckpointInfo(round=number, manifest=None, problem=error.strerror or str(error))
        return CheckpointInfo(round=number, manifest=manifest, problem=None)

    def _require_round(self, number: int) -> None:
        if number not in (rounds := self.rounds()):
            committed = ", ".join(map(str, rounds)) or "none"
            raise MissingRoundError(
                f"no checkpoint of round {number} in {self.root}. Committed rounds: {committed}. "
                "Choose one of them."
            )

    def _refusal(self, number: int, damage: DamagedError) -> CheckpointError:
        return CheckpointError(
            f"the checkpoint of round {number} in {self.root} is damaged: {damage}. "
            "Choose another round, or restore its files from a copy."
        )


def _require_schema(manifest: Manifest, schema: ModelSchema | None) -> None:
    """Raise CheckpointError where the manifest is of another model, before its files are read."""
    if differences := schema.differences(manifest.schema) if schema and not manifest.form_changed else []:
        raise CheckpointError(
            f"the checkpoint of round {manifest.round} is of another model: {_listed(differences)}. "
            "Use the app that made it, set another FL_CHECKPOINT_PATH, or restart with FL_RESUME=never."
        )


def _listed(differences: Sequence[str]) -> str:
    """Return the first differences: a foreign manifest may list any number of arrays."""
    more = len(differences) - _MOST_DIFFERENCES
    return "; ".join(differences[:_MOST_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")
