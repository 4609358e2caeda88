"""The training's journal: append-only JSON lines that everything which reports reads."""

from oneflower.journal.events import EVENTS, JOURNAL_SCHEMA, SupervisorState
from oneflower.journal.reader import follow, follow_blocks, read_backwards, read_journal
from oneflower.journal.tail import Event, JournalTail
from oneflower.journal.unfinished import Unfinished, unfinished_round
from oneflower.journal.writer import Journal

__all__ = [
    "EVENTS",
    "JOURNAL_SCHEMA",
    "Event",
    "Journal",
    "JournalTail",
    "SupervisorState",
    "Unfinished",
    "follow",
    "follow_blocks",
    "read_backwards",
    "read_journal",
    "unfinished_round",
]
