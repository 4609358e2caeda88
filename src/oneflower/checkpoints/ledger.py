"""What the one writer knows of its folder, so that a save costs the same however many came before.

Read once, from the newest committed manifest and the history; from then on each commit moves it on.
"""

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from oneflower.checkpoints.files import Files
from oneflower.checkpoints.folder import committed_rounds
from oneflower.checkpoints.history import BEGINNING, EMPTY, Position, merged, render_line
from oneflower.checkpoints.manifest import DamagedError, Manifest
from oneflower.checkpoints.metrics import loadable, normalised
from oneflower.checkpoints.model import Metrics
from oneflower.checkpoints.reading import read_history, read_manifest, read_metrics
from oneflower.errors import AppError
from oneflower.quality import BestSoFar, Wanted, flat, measure_named, wanted_or_automatic

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line that is about to be written at the end of the history; empty where nothing new was measured.

    ``repair`` ends a line that a crash tore, and comes before it.
    """

    repair: bytes
    line: bytes
    begin: int
    before: Position
    position: Position
    metrics: Metrics


@dataclass(slots=True)
class Ledger:
    """Where the next line of the history goes, what it goes on from, and the best of the committed rounds.

    ``number`` is the newest committed round, 0 where there is none; ``whole`` tells that all are known.
    ``recorded`` is the newest round of each phase in the history. ``owed`` are metrics so far that no line
    holds yet: those of a manifest of schema 1, or what was saved out of a damaged history. ``unreadable``
    tells that the disk gives nothing of the history back.
    """

    number: int
    committed: set[int]
    whole: bool
    unreadable: bool
    best: BestSoFar
    size_bytes: int = 0
    ended: bool = True
    position: Position = BEGINNING
    recorded: dict[str, int] = field(default_factory=dict)
    owed: Metrics = field(default_factory=dict)

    @classmethod
    def read(
        cls, files: Files, root: Path, *, wanted: Wanted | None = None, rounds: Collection[int] | None = None
    ) -> Self:
        """Read what is committed, or what some of the committed rounds are.

        Without `wanted` the rounds are judged as the newest manifest says.
        """
        committed = committed_rounds(files, root) if rounds is None else sorted(rounds)
        newest = _newest(files, root, committed)
        history, unreadable = EMPTY, False
        try:
            history = read_history(files, root)
        except DamagedError:
            unreadable = True
        ledger = cls(
            number=newest.round if newest else 0,
            committed=set(committed),
            whole=rounds is None,
            unreadable=unreadable,
            best=BestSoFar(wanted or wanted_of(newest)),
            size_bytes=history.size_bytes,
            ended=history.ended,
        )
        if newest is None:
            return ledger
        known = read_metrics(newest, history)
        metrics: Metrics = known.metrics
        if newest.history is None:
            metrics, _ = loadable(metrics)
            ledger.owed = metrics
        elif known.problem is None:
            ledger.position, _ = history.noted_after(newest.history, newest.round)
        else:
            log.warning("metrics damaged, those left are kept folder=%s reason=%s", root, known.problem)
            own = (manifest.metrics for manifest in _manifests(files, root, committed))
            metrics = ledger.owed = merged([*own, known.metrics])
            _remember_best(ledger.best, newest)
        ledger._know(metrics)
        return ledger

    def entry(self, number: int, metrics: Metrics) -> Entry:
        """Return the line for what is new in the metrics up to round `number`, which it is written for.

        Raises
        ------
        AppError
            A metric cannot be read back; the text names it.
        """
        new = merged([self.owed, self._new(metrics, number)])
        if not any(new.values()):
            at = self.position
            return Entry(repair=b"", line=b"", begin=self.size_bytes, before=at, position=at, metrics={})
        repair = b"" if self.ended else b"\n"
        begin = self.size_bytes + len(repair)
        line, position = render_line(number, new, before=self.position, begin=begin)
        return Entry(
            repair=repair, line=line, begin=begin, before=self.position, position=position, metrics=new
        )

    def take(self, number: int, entry: Entry) -> None:
        """Note that a line is about to be written for a round that is, or will be, committed."""
        self.number = number
        self.committed.add(number)
        self._know(entry.metrics)
        if entry.line:
            self.size_bytes, self.ended = entry.position.size_bytes, True
            self.position, self.owed = entry.position, {}

    def _new(self, metrics: Metrics, until: int) -> Metrics:
        """Return, in their plain form, the metrics of rounds that the history does not have yet."""
        new: dict[str, dict[str, Any]] = {}
        for phase, rounds in metrics.items():
            if not isinstance(rounds, Mapping):
                raise AppError(f"metrics of phase {phase!r} are {rounds!r}: expected metrics by round.")
            for number in sorted(_between(self.recorded.get(phase, -1), until, rounds), key=int):
                source = f"phase {phase!r} of round {number}"
                new.setdefault(phase, {})[number] = normalised(rounds[number], source=source)
        return new

    def _know(self, metrics: Metrics) -> None:
        by_round: dict[int, dict[str, Any]] = {}
        for phase, rounds in metrics.items():
            for text, values in rounds.items():
                by_round.setdefault(int(text), {})[phase] = values
                self.recorded[phase] = max(int(text), self.recorded.get(phase, -1))
        for number in sorted(by_round):
            if number in self.committed:
                self.best.take(number, flat(by_round[number]))


def _between(last: int, until: int, rounds: Mapping[str, Any]) -> Iterator[str]:
    for text in rounds:
        if not (isinstance(text, str) and text.isdecimal()):
            raise AppError(f"metrics of round {text!r}: expected the round as decimal text.")
        if last < int(text) <= until:
            yield text


def _newest(files: Files, root: Path, committed: Collection[int]) -> Manifest | None:
    """Return the newest manifest that can be read; what is damaged is the concern of whoever loads it."""
    for number in sorted(committed, reverse=True):
        for _ in range(2):  # a read that fails once is no damage, and would lose the round's metrics
            with suppress(DamagedError):
                return read_manifest(files, root, number)
    return None


def _manifests(files: Files, root: Path, committed: Collection[int]) -> Iterator[Manifest]:
    for number in sorted(committed):
        with suppress(DamagedError):
            yield read_manifest(files, root, number)


def _remember_best(best: BestSoFar, manifest: Manifest) -> None:
    """Take the best round from a manifest: the metrics that made it so may be lost."""
    told = manifest.content["best"]
    measure = measure_named(str(told["metric"])) if manifest.history is not None and told else None
    if measure is not None:
        best.take(int(told["round"]), {measure: float(told["value"])})


def wanted_of(manifest: Manifest | None) -> Wanted:
    """Return the quality by which a training judges its rounds, as its newest manifest says."""
    return wanted_or_automatic(manifest.content.get("best_metric") if manifest else None)
