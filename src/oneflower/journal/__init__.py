"""The training's journal: append-only JSON lines of typed events, and the state that they reduce to."""

from oneflower.codes import SupervisorState
from oneflower.journal.events import EVENTS, JOURNAL_SCHEMA, BrokenEvent, Entry, Event, UnknownEvent
from oneflower.journal.in_use import LOCK_NAME, SUPERVISOR_LOCK_NAME, is_left
from oneflower.journal.owners import Current, of_training
from oneflower.journal.reader import (
    Block,
    Follower,
    follow,
    follow_blocks,
    has_journal,
    read_backwards,
    read_journal,
    read_patiently,
)
from oneflower.journal.state import Aggregated, TrainingState, reduce
from oneflower.journal.tail import JournalTail
from oneflower.journal.unfinished import unfinished_round
from oneflower.journal.writer import JOURNAL_VARIABLE, LAST_WORDS_S, Journal, Owner, close_journal

__all__ = [
    "EVENTS",
    "JOURNAL_SCHEMA",
    "JOURNAL_VARIABLE",
    "LAST_WORDS_S",
    "LOCK_NAME",
    "SUPERVISOR_LOCK_NAME",
    "Aggregated",
    "Block",
    "BrokenEvent",
    "Current",
    "Entry",
    "Event",
    "Follower",
    "Journal",
    "JournalTail",
    "Owner",
    "SupervisorState",
    "TrainingState",
    "UnknownEvent",
    "close_journal",
    "follow",
    "follow_blocks",
    "has_journal",
    "is_left",
    "of_training",
    "read_backwards",
    "read_journal",
    "read_patiently",
    "reduce",
    "unfinished_round",
]
