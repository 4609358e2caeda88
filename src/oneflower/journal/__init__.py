"""The training's journal: append-only JSON lines that everything which reports reads."""

from oneflower.journal.events import EVENTS, JOURNAL_SCHEMA, SupervisorState
from oneflower.journal.owners import Current, of_training, run_of
from oneflower.journal.reader import (
    Follower,
    follow,
    follow_blocks,
    has_journal,
    read_backwards,
    read_journal,
    read_patiently,
)
from oneflower.journal.tail import Event, JournalTail
from oneflower.journal.unfinished import Unfinished, unfinished_round
from oneflower.journal.writer import JOURNAL_VARIABLE, LAST_WORDS_S, Journal, Owner

__all__ = [
    "EVENTS",
    "JOURNAL_SCHEMA",
    "JOURNAL_VARIABLE",
    "LAST_WORDS_S",
    "Current",
    "Event",
    "Follower",
    "Journal",
    "JournalTail",
    "Owner",
    "SupervisorState",
    "Unfinished",
    "follow",
    "follow_blocks",
    "has_journal",
    "of_training",
    "read_backwards",
    "read_journal",
    "read_patiently",
    "run_of",
    "unfinished_round",
]
