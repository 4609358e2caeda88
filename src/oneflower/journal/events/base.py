"""The events of a training: one dataclass each. `docs/journal.md` lists them; `codec` writes and reads them.

The docstring of a class says when the event is written; the documentation's table is made of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final, NamedTuple

JOURNAL_SCHEMA: Final = 2

Scalar = bool | int | float | str


class Event:
    """What every event is; ``tag`` is the ``event`` of its line."""

    __slots__ = ()
    tag: ClassVar[str]


class Entry(NamedTuple):
    """One line of a journal: an event, when it was written, by which process, and of which run it is.

    Attributes
    ----------
    time
        In UTC; None where the line is broken, see `BrokenEvent`.
    run
        The run that the event is about; None where it is about none.
    process
        The process that wrote it; empty in journals from before 0.2.
    schema
        The journal schema of the line.
    """

    time: datetime | None
    event: Event
    run: int | None = None
    process: str = ""
    schema: int = JOURNAL_SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownEvent(Event):
    """An event, or a code in one, that only a later version knows: kept and counted, never applied."""

    kind: str
    fields: Mapping[str, Any]
    tag: ClassVar[str] = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenEvent(Event):
    """A line that is no event, or several, and why: reported and counted, never applied in part."""

    line: str
    why: str
    lines: int = 1
    tag: ClassVar[str] = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """A variable, its value and where it came from; secrets are masked."""

    variable: str
    value: str
    source: str
