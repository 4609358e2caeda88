"""What came of one phase: what its replies are parsed to, and who was left out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from oneflower.flower.grid import Reply
from oneflower.training.blame import passes
from oneflower.training.draw import Draw

Parsed = TypeVar("Parsed")
Parse = Callable[[Reply], Parsed]
"""Returns what a reply says; raises ReplyError where it cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected(Generic[Parsed]):
    """What the valid replies of a phase say, and how many others were quarantined.

    `nodes` are those that were asked, without those whose replies were not needed any more.
    `raised` holds what the clients said whose apps raised an exception, `malformed` what is wrong with the
    replies that have another form than the task asks for. `silent` counts the clients that are connected and
    have not answered in time, `not_finite` those of the quarantined that sent NaN or infinity, `too_large`
    those whose reply was larger than what is read. `draw` is the order in which the clients were drawn.
    """

    valid: list[Parsed]
    quarantined: int
    asked: int = 0
    nodes: frozenset[int] = frozenset()
    raised: tuple[str, ...] = ()
    malformed: tuple[str, ...] = ()
    silent: int = 0
    not_finite: int = 0
    too_large: int = 0
    draw: Draw | None = None

    @property
    def broken(self) -> int:
        """How many clients could not train: they sent NaN or infinity, or raised what will not pass."""
        return self.not_finite + sum(not passes(reason) for reason in self.raised)
