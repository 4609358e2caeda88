"""The training's journal: append-only JSON lines that everything which reports reads."""

from oneflower.journal.events import EVENTS, JOURNAL_SCHEMA, SupervisorState
from oneflower.journal.reader import follow, follow_blocks, read_journal
from oneflower.journal.tail import Event, JournalTail
from oneflower.journal.writer import Journal

__all__ = [
    "EVENTS",
    "JOURNAL_SCHEMA",
    "Event",
    "Journal",
    "JournalTail",
    "SupervisorState",
    "follow",
    "follow_blocks",
    "read_journal",
]
