"""Find and read the checkpoints of a folder. Nothing here changes the disk."""

import logging
from dataclasses import dataclass
from pathlib import Path

from oneflower.checkpoints.files import Files, OsFiles
from oneflower.checkpoints.folder import committed_rounds
from oneflower.checkpoints.manifest import DamagedError, Manifest
from oneflower.checkpoints.model import Checkpoint, ModelSchema
from oneflower.checkpoints.names import aside
from oneflower.checkpoints.reading import read_checkpoint, read_manifest, verify_files
from oneflower.checkpoints.trouble import state_error
from oneflower.errors import CheckpointError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointInfo:
    """A committed round as its manifest tells; `problem` says what is wrong where it cannot be read."""

    round: int
    manifest: Manifest | None
    problem: str | None


class CheckpointReader:
    """The checkpoints of one folder, read without a lock: a writer may be at work beside.

    Errors: CheckpointError for a round that is missing, damaged, of another model or schema; StateError for
    a folder that cannot be read now, which proves no damage.
    """

    def __init__(self, root: Path, *, files: Files | None = None) -> None:
        self.root = root
        self._files = files or OsFiles()

    def rounds(self) -> tuple[int, ...]:
        """Return the committed rounds, oldest first; none in a folder that is not there."""
        try:
            return tuple(committed_rounds(self._files, self.root))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise state_error(error, "listing the checkpoints", self.root) from error

    def list(self) -> tuple[CheckpointInfo, ...]:
        """Return every committed round, oldest first, without reading its data."""
        return tuple(self._info(number) for number in self.rounds())

    def set_aside(self) -> tuple[str, ...]:
        """Return the names of the files that were set aside and are not used."""
        try:
            return tuple(sorted(name for name in self._files.names(self.root) if aside(name)))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise state_error(error, "listing the checkpoints", self.root) from error

    def latest(self, schema: ModelSchema | None = None) -> Checkpoint | None:
        """Return the newest checkpoint that verifies, None where there is none.

        One that does not is passed over with a log line (and set aside by the writer), and the one before
        it is used. With `schema`, a checkpoint of another model is refused with the list of differences.
        """
        for number in reversed(self.rounds()):
            try:
                checkpoint = self._read(number)
            except DamagedError as damage:
                self._pass_over(number, damage)
            else:
                return _fitting(checkpoint, schema)
        return None

    def load(self, number: int, schema: ModelSchema | None = None) -> Checkpoint:
        """Return the checkpoint of a round; it was asked for by name, so anything wrong is an error."""
        self._require_round(number)
        try:
            return _fitting(self._read(number), schema)
        except DamagedError as damage:
            raise self._refusal(number, damage) from damage

    def verify(self, number: int) -> Manifest:
        """Verify every file of a round and return its manifest; CheckpointError says what is wrong."""
        self._require_round(number)
        try:
            manifest = read_manifest(self._files, self.root, number)
            verify_files(self._files, self.root, manifest)
        except DamagedError as damage:
            raise self._refusal(number, damage) from damage
        except OSError as error:
            raise state_error(error, f"reading the checkpoint of round {number}", self.root) from error
        return manifest

    def _pass_over(self, number: int, damage: DamagedError) -> None:
        log.warning("checkpoint damaged round=%d folder=%s reason=%s", number, self.root, damage)

    def _read(self, number: int) -> Checkpoint:
        try:
            return read_checkpoint(self._files, self.root, number)
        except OSError as error:
            raise state_error(error, f"reading the checkpoint of round {number}", self.root) from error

    def _info(self, number: int) -> CheckpointInfo:
        try:
            manifest = read_manifest(self._files, self.root, number)
        except CheckpointError as error:
            return CheckpointInfo(round=number, manifest=None, problem=str(error))
        except OSError as error:
            return CheckpointInfo(round=number, manifest=None, problem=error.strerror or str(error))
        return CheckpointInfo(round=number, manifest=manifest, problem=None)

    def _require_round(self, number: int) -> None:
        if number not in (rounds := self.rounds()):
            there = ", ".join(map(str, rounds)) or "none"
            raise CheckpointError(
                f"no checkpoint of round {number} in {self.root}. Committed rounds: {there}. "
                "Ask for one of them."
            )

    def _refusal(self, number: int, damage: DamagedError) -> CheckpointError:
        return CheckpointError(
            f"the checkpoint of round {number} in {self.root} is damaged: {damage}. "
            "Ask for another round, or restore its files from a copy."
        )


def _fitting(checkpoint: Checkpoint, schema: ModelSchema | None) -> Checkpoint:
    differences = schema.differences(ModelSchema.of(checkpoint.arrays)) if schema else []
    if differences:
        raise CheckpointError(
            f"the checkpoint of round {checkpoint.round} is of another model: {'; '.join(differences)}. "
            "Use the app that made it, or another FL_CHECKPOINT_PATH, or FL_RESUME=never to start afresh."
        )
    return checkpoint
