"""Whether a training's work is safe: the checkpoints on the disk, which are proven, and how much is free."""

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from oneflower.checkpoints import CheckpointInfo, CheckpointReader, MissingRoundError
from oneflower.errors import CheckpointError, StateError
from oneflower.journal import TrainingState
from oneflower.journal.state.records import SavedCheckpoint

# A disk may rot: what was proven is proven again after so long.
PROVEN_FOR_S: Final = 600.0
MOST_LOOKED_AT: Final = 1000


class Proof(StrEnum):
    """What is known of a checkpoint's files."""

    VERIFIED = "verified"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
    UNCHECKED = "not checked yet"
    ELSEWHERE = "not on this machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A checkpoint that is there, and what is known of it. ``problem`` says what is wrong with its files."""

    number: int
    size_bytes: int
    file: str
    time: datetime | None
    seconds: float | None
    proof: Proof
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Safety:
    """The checkpoints, oldest first. ``free_bytes`` is None where their folder is not on this machine."""

    folder: str = ""
    kept: tuple[Kept, ...] = ()
    free_bytes: int | None = None

    @property
    def newest(self) -> Kept | None:
        """The newest checkpoint that is not known to be bad."""
        good = [each for each in self.kept if each.proof not in (Proof.DAMAGED, Proof.UNREADABLE)]
        return good[-1] if good else None

    @property
    def bad(self) -> tuple[Kept, ...]:
        """The checkpoints that could not be proven."""
        return tuple(each for each in self.kept if each.proof in (Proof.DAMAGED, Proof.UNREADABLE))


@dataclass(slots=True)
class Inspector:
    """Look at the checkpoint folder; what was proven is remembered, for a model may be gigabytes.

    Parameters
    ----------
    folder : Path | None
        Where to look before the journal has named a checkpoint.
    """

    folder: Path | None = None
    clock: Callable[[], float] = time.monotonic
    _proven: dict[tuple[int, str], tuple[Proof, str, float]] = field(default_factory=dict)

    def look(self, view: TrainingState, *, prove: bool = True) -> Safety:
        """Return what is there now; with ``prove`` read every file that was not read lately."""
        folder = self._folder(view)
        if folder is None:
            return Safety()
        if not folder.is_dir():
            kept = tuple(_kept_as(saved, Proof.ELSEWHERE) for _, saved in sorted(view.checkpoints.items()))
            return Safety(folder=str(folder), kept=kept)
        try:
            found = CheckpointReader(folder).list()
            free_bytes = shutil.disk_usage(folder).free
        except (StateError, OSError) as error:
            kept = tuple(
                _kept_as(saved, Proof.UNREADABLE, str(error)) for _, saved in sorted(view.checkpoints.items())
            )
            return Safety(folder=str(folder), kept=kept)
        there = []
        for info in found:
            with suppress(MissingRoundError):  # retention let it go since it was listed
                there.append(self._kept(folder, info, view.checkpoints, prove=prove))
        return Safety(folder=str(folder), kept=tuple(there), free_bytes=free_bytes)

    def _folder(self, view: TrainingState) -> Path | None:
        files = [saved.file for _, saved in sorted(view.checkpoints.items()) if saved.file]
        return Path(files[-1]).parent if files else self.folder

    def _kept(
        self, folder: Path, info: CheckpointInfo, of_journal: Mapping[int, SavedCheckpoint], *, prove: bool
    ) -> Kept:
        saved, manifest = of_journal.get(info.round), info.manifest
        digest = manifest.model.sha256 if manifest else ""
        proof, problem = self._proof(folder, info, digest, prove=prove)
        return Kept(
            number=info.round,
            size_bytes=manifest.size_bytes if manifest else 0,
            file=manifest.model.name if manifest else f"round {info.round}",
            time=saved.time if saved else _time(manifest.content.get("time") if manifest else None),
            seconds=saved.seconds if saved else None,
            proof=proof,
            problem=problem,
        )

    def _proof(self, folder: Path, info: CheckpointInfo, digest: str, *, prove: bool) -> tuple[Proof, str]:
        if info.problem:
            return Proof.DAMAGED, info.problem
        known = self._proven.get((info.round, digest))
        if known and self.clock() - known[2] < PROVEN_FOR_S:
            return known[0], known[1]
        if not prove:
            return (known[0], known[1]) if known else (Proof.UNCHECKED, "")
        proof, problem = _verify(folder, info.round)
        self._proven[(info.round, digest)] = (proof, problem, self.clock())
        return proof, problem


def note_lost_files(view: TrainingState) -> None:
    """Note which of the newest checkpoints, and whether the final model, were set aside or deleted since.

    Where their folder is not on this machine nothing is known of them.
    """
    lost = set[str]()
    for number in sorted(view.checkpoints, reverse=True)[:MOST_LOOKED_AT]:
        if not _is_lost(view.checkpoints[number].file):
            break
        lost.add(view.checkpoints[number].file)
    if view.finish is not None and view.finish.path and _is_lost(view.finish.path):
        lost.add(view.finish.path)
    view.lost_files = frozenset(lost)


def _is_lost(file: str) -> bool:
    path = Path(file)
    try:
        if path.is_absolute() and path.parent.is_dir():
            path.lstat()
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
    return False


def from_journal(view: TrainingState) -> Safety:
    """Return the checkpoints as the journal alone knows them: they were written."""
    kept = tuple(_kept_as(saved, Proof.UNCHECKED) for _, saved in sorted(view.checkpoints.items()))
    return Safety(kept=kept)


def _verify(folder: Path, number: int) -> tuple[Proof, str]:
    try:
        CheckpointReader(folder).verify(number)
    except StateError as error:
        return Proof.UNREADABLE, str(error)
    except MissingRoundError:
        raise
    except CheckpointError as error:
        return Proof.DAMAGED, str(error)
    return Proof.VERIFIED, ""


def _kept_as(saved: SavedCheckpoint, proof: Proof, problem: str = "") -> Kept:
    return Kept(
        number=saved.number,
        size_bytes=saved.size_bytes,
        file=Path(saved.file).name,
        time=saved.time,
        seconds=saved.seconds,
        proof=proof,
        problem=problem,
    )


def _time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None
