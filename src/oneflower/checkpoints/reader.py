"""Find and read the checkpoints of a folder. Nothing here changes the disk."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from oneflower.checkpoints.files import Files, OsFiles
from oneflower.checkpoints.folder import committed_rounds
from oneflower.checkpoints.history import History
from oneflower.checkpoints.manifest import DamagedError, Manifest
from oneflower.checkpoints.model import Checkpoint, Metrics, ModelSchema
from oneflower.checkpoints.names import aside
from oneflower.checkpoints.reading import (
    history_as_it_is,
    read_checkpoint,
    read_manifest,
    read_metrics,
    verify_files,
)
from oneflower.checkpoints.trouble import state_error
from oneflower.errors import CheckpointError

log = logging.getLogger(__name__)

T = TypeVar("T")
# A writer beside may replace a round while it is read; it cannot do so this often.
_MOST_LOOKS: Final = 20


class MissingRoundError(CheckpointError):
    """A round is not committed, or was removed while it was read. That is no damage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointInfo:
    """A committed round as its manifest tells; `problem` says what is wrong where it cannot be read."""

    round: int
    manifest: Manifest | None
    problem: str | None


class CheckpointReader:
    """The checkpoints of one folder, read without a lock: a writer may be at work beside.

    Errors: MissingRoundError for a round that is not there, or no longer; CheckpointError for one that is
    damaged, of another model or schema; StateError for a folder that cannot be read now, which proves no
    damage. Before anything is called damaged, its manifest is looked at again.
    """

    def __init__(self, root: Path, *, files: Files | None = None) -> None:
        self.root = root
        self._files = files or OsFiles()
        self._read_history: History | None = None

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
        infos = []
        for number in self.rounds():
            with suppress(MissingRoundError):
                infos.append(self._info(number))
        return tuple(infos)

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
        for _ in range(_MOST_LOOKS):
            removed = False
            for number in reversed(self.rounds()):
                try:
                    checkpoint = self._read(number)
                except MissingRoundError:
                    removed = True
                except DamagedError as damage:
                    self._pass_over(number, damage)
                else:
                    return _fitting(checkpoint, schema)
            if not removed:
                break
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
            return self._settled(number, self._proven)
        except DamagedError as damage:
            raise self._refusal(number, damage) from damage

    def metrics(self) -> Metrics:
        """Return all metrics up to the newest checkpoint, with its clients' evaluation where it is known."""
        for info in reversed(self.list()):
            if info.manifest is not None:
                return read_metrics(info.manifest, self._history(info.manifest)).metrics
        return {}

    def metrics_problem(self, number: int) -> str | None:
        """Say what is wrong with the metrics up to a round, whose model does not depend on them."""
        return self._settled(number, self._metrics_damage)

    def _metrics_damage(self, manifest: Manifest) -> str | None:
        problem = read_metrics(manifest, self._history(manifest)).problem
        if problem is not None and not self._stands(manifest):
            raise DamagedError(problem)  # looked at again by `_settled`
        return problem

    def _proven(self, manifest: Manifest) -> Manifest:
        verify_files(self._files, self.root, manifest)
        return manifest

    def _pass_over(self, number: int, damage: DamagedError) -> None:
        log.warning("checkpoint damaged round=%d folder=%s reason=%s", number, self.root, damage)

    def _read(self, number: int) -> Checkpoint:
        return self._settled(number, self._whole)

    def _whole(self, manifest: Manifest) -> Checkpoint:
        read = read_metrics(manifest, history_as_it_is(self._files, self.root))
        checkpoint = read_checkpoint(self._files, self.root, manifest, read.metrics)
        if read.problem is not None and self._stands(manifest):
            log.warning(
                "metrics damaged, the model is good round=%d folder=%s reason=%s",
                manifest.round,
                self.root,
                read.problem,
            )
        return checkpoint

    def _history(self, manifest: Manifest) -> History:
        """Return the history, read again where what was read lacks what the manifest names: it has grown."""
        known, position = self._read_history, manifest.history
        if known is None or (position is not None and known.problem(position)):
            known = self._read_history = history_as_it_is(self._files, self.root)
        return known

    def _settled(self, number: int, read: Callable[[Manifest], T]) -> T:
        """Return what `read` makes of a round's manifest; of damage only where the manifest still stands."""
        try:
            for _ in range(_MOST_LOOKS):
                manifest = self._manifest(number)
                try:
                    return read(manifest)
                except DamagedError:
                    if self._stands(manifest):
                        raise
        except OSError as error:
            raise state_error(error, f"reading the checkpoint of round {number}", self.root) from error
        raise self._changing(number)

    def _changing(self, number: int) -> MissingRoundError:
        return MissingRoundError(
            f"the checkpoint of round {number} in {self.root} changes while it is read. "
            "Run the command again."
        )

    def _stands(self, manifest: Manifest) -> bool:
        """Tell whether a manifest is still the round's; MissingRoundError where the round is gone."""
        return self._manifest(manifest.round).content == manifest.content

    def _manifest(self, number: int) -> Manifest:
        """Read a round's manifest. One that is missing and yet listed has come back, and is read again."""
        for _ in range(_MOST_LOOKS):
            try:
                return read_manifest(self._files, self.root, number)
            except DamagedError as damage:
                if number not in self.rounds():
                    raise MissingRoundError(
                        f"the checkpoint of round {number} in {self.root} was removed while it was read: by "
                        "retention, or it was set aside. Ask for another round."
                    ) from None
                if not isinstance(damage.__cause__, FileNotFoundError):
                    raise
        raise self._changing(number)

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
            there = ", ".join(map(str, rounds)) or "none"
            raise MissingRoundError(
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
