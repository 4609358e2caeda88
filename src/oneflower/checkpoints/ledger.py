"""The writer's summary of its folder, so that the cost of a save does not grow with the rounds before.

Read once, from the newest committed manifest and the history; afterwards each commit updates it.
"""

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from oneflower.checkpoints.entry import Entry, Room, entry_of
from oneflower.checkpoints.files import Files
from oneflower.checkpoints.folder import committed_rounds
from oneflower.checkpoints.history import BEGINNING, EMPTY, Position, merged
from oneflower.checkpoints.manifest import DamagedError, Manifest
from oneflower.checkpoints.metrics import loadable, normalised
from oneflower.checkpoints.model import Metrics
from oneflower.checkpoints.reading import read_history, read_manifest, read_metrics
from oneflower.checkpoints.signing import Signer
from oneflower.errors import AppError, ForeignError
from oneflower.quality import BestSoFar, Wanted, flat, measure_named, wanted_or_automatic

log = logging.getLogger(__name__)

_MOST_NAMED: Final = 10


@dataclass(slots=True)
class Ledger:
    """Where the next line of the history goes, which line it follows, and the best committed round.

    ``number`` is the newest committed round, 0 if there is none. ``whole``: all committed rounds are
    included. ``recorded`` is the newest round of each phase in the history. ``unrecorded`` are metrics that
    no line holds yet: those of a manifest of schema 1, or those recovered from a damaged history.
    ``unreadable``: the history cannot be read from the disk at all. ``told``: the metrics that were left out
    with a warning.
    """

    number: int
    committed: set[int]
    whole: bool
    unreadable: bool
    best: BestSoFar
    room: Room = field(default_factory=Room)
    ended: bool = True
    position: Position = BEGINNING
    recorded: dict[str, int] = field(default_factory=dict)
    unrecorded: Metrics = field(default_factory=dict)
    told: set[str] = field(default_factory=set)

    @property
    def size_bytes(self) -> int:
        """The size of the history."""
        return self.room.size_bytes

    @classmethod
    def read(
        cls,
        files: Files,
        root: Path,
        *,
        wanted: Wanted | None = None,
        rounds: Collection[int] | None = None,
        signer: Signer | None = None,
    ) -> Self:
        """Read the ledger of all committed rounds, or of some of them; with a signer only of ours.

        Without `wanted` the rounds are ranked by the metric in the newest manifest.
        """
        committed = committed_rounds(files, root) if rounds is None else sorted(rounds)
        if signer is not None:
            committed = [each.round for each in _manifests(files, root, committed, signer)]
        newest = _newest(files, root, committed, signer)
        history, unreadable = EMPTY, False
        try:
            history = read_history(files, root)
        except DamagedError as error:
            history, unreadable = replace(EMPTY, unread=str(error)), True
        ledger = cls(
            number=newest.round if newest else 0,
            committed=set(committed),
            whole=rounds is None,
            unreadable=unreadable,
            best=BestSoFar(wanted or wanted_of(newest)),
            room=Room.of(history),
            ended=history.ended,
        )
        if newest is None:
            return ledger
        known = read_metrics(newest, history, signed=signer is not None)
        metrics: Metrics = known.metrics
        if newest.history is None:
            metrics, _ = loadable(metrics)
            ledger.unrecorded = metrics
        elif known.problem is None:
            ledger.position = newest.history
            if signer is None:  # otherwise our next manifest would vouch for a line that may be anybody's
                ledger.position, _ = history.recorded_after(newest.history, newest.round)
        else:
            log.warning("metrics damaged, those left are kept folder=%s reason=%s", root, known.problem)
            own = (manifest.metrics for manifest in _manifests(files, root, committed, signer))
            metrics = ledger.unrecorded = merged([*own, known.metrics])
            _remember_best(ledger.best, newest)
        ledger._include(metrics)
        return ledger

    def entry(self, number: int, metrics: Metrics) -> Entry:
        """Return what is appended to the history for round `number`: the metrics not recorded yet.

        Raises
        ------
        AppError
            A metric is not valid; the text names it.
        """
        new = merged([self.unrecorded, self._new(metrics, number)])
        entry = entry_of(
            number,
            new,
            before=self.position,
            room=self.room,
            ended=self.ended,
            wanted=self.best.wanted,
        )
        if names := sorted(entry.left_out - self.told):
            self.told.update(names)
            log.warning(
                "metrics left out of the history round=%d metrics=%s reason=there are too many values",
                number,
                _few(names),
            )
        return entry

    def take(self, number: int, entry: Entry) -> None:
        """Include a round that is, or will be, committed, and the lines about to be written for it."""
        self.number = number
        self.committed.add(number)
        self._include(entry.metrics)
        if entry.metrics:
            self.unrecorded = {}
        if entry.lines:
            self.room, self.ended, self.position = entry.room, True, entry.position

    def _new(self, metrics: Metrics, until: int) -> Metrics:
        """Return the normalised metrics of rounds that the history does not have yet."""
        new: dict[str, dict[str, Any]] = {}
        for phase, rounds in metrics.items():
            if not isinstance(rounds, Mapping):
                raise AppError(f"metrics of phase {phase!r} are {rounds!r}: expected metrics by round.")
            for number in sorted(_between(self.recorded.get(phase, -1), until, rounds), key=int):
                source = f"phase {phase!r} of round {number}"
                new.setdefault(phase, {})[number] = normalised(rounds[number], source=source)
        return new

    def _include(self, metrics: Metrics) -> None:
        by_round: dict[int, dict[str, Any]] = {}
        for phase, rounds in metrics.items():
            for text, values in rounds.items():
                by_round.setdefault(int(text), {})[phase] = values
                self.recorded[phase] = max(int(text), self.recorded.get(phase, -1))
        for number in sorted(by_round):
            if number in self.committed:
                self.best.take(number, flat(by_round[number]))


def _few(names: list[str]) -> str:
    """Return the first names of possibly thousands."""
    more = len(names) - _MOST_NAMED
    return ", ".join(name[:80] for name in names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _between(last: int, until: int, rounds: Mapping[str, Any]) -> Iterator[str]:
    for text in rounds:
        if not (isinstance(text, str) and text.isdecimal()):
            raise AppError(f"metrics of round {text!r}: expected the round as decimal text.")
        if last < int(text) <= until:
            yield text


def _newest(files: Files, root: Path, committed: Collection[int], signer: Signer | None) -> Manifest | None:
    """Return the newest manifest that can be read; damage is reported when a checkpoint is loaded."""
    for number in sorted(committed, reverse=True):
        for _ in range(2):  # one failed read is not damage; skipping the round would lose its metrics
            with suppress(DamagedError, ForeignError):
                return read_manifest(files, root, number, signer)
    return None


def _manifests(
    files: Files, root: Path, committed: Collection[int], signer: Signer | None
) -> Iterator[Manifest]:
    for number in sorted(committed):
        with suppress(DamagedError, ForeignError):
            yield read_manifest(files, root, number, signer)


def _remember_best(best: BestSoFar, manifest: Manifest) -> None:
    """Take the best round from a manifest: the metrics that made it so may be lost."""
    told = manifest.content["best"]
    measure = measure_named(str(told["metric"])) if manifest.history is not None and told else None
    if measure is not None:
        best.take(int(told["round"]), {measure: float(told["value"])})


def wanted_of(manifest: Manifest | None) -> Wanted:
    """Return the quality by which a training judges its rounds, as its newest manifest says."""
    return wanted_or_automatic(manifest.content.get("best_metric") if manifest else None)
