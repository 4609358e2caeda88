"""How an app's own loop goes: exchanges in the place of rounds."""

from typing import TYPE_CHECKING

from oneflower.codes import Phase
from oneflower.journal.events import Entry, ExchangeCompleted, LoopFinished, LoopStarted, RecordingStopped
from oneflower.journal.state import clients
from oneflower.journal.state.marks import mark
from oneflower.journal.state.records import OwnLoop

if TYPE_CHECKING:
    from oneflower.journal.state.training import TrainingState


def started(state: "TrainingState", event: LoopStarted, entry: Entry) -> None:
    """Begin, or go on with what is recorded; where nothing is, earlier exchanges are no part of it."""
    if state.loop is None or not event.recorded:
        state.loop = OwnLoop()
    state.loop.recorded, state.loop.path, state.loop.finished = event.recorded, event.path, False
    state.app = event.app or state.app
    state.waiting, state.failure = None, None
    state.began, state.has_begun, state.phase = entry.time, True, Phase.TRAINING
    mark(state, entry)


def exchanged(state: "TrainingState", event: ExchangeCompleted, entry: Entry) -> None:
    """Count what came of the messages of one exchange; one that is repeated counts once."""
    loop = state.loop = state.loop or OwnLoop()
    state.waiting, state.phase, state.losses_in_a_row = None, Phase.TRAINING, 0
    loop.size_bytes = event.size_bytes
    if event.exchange <= loop.exchanges:
        return
    loop.exchanges = event.exchange
    for name in event.clients:
        clients.exchanged(state, name, event.exchange, entry)
    loop.replies += event.replies
    loop.failed += event.failed + event.silent
    loop.quarantined += event.quarantined


def stopped(state: "TrainingState", event: RecordingStopped, entry: Entry) -> None:
    """Note that a crash costs more from here on."""
    loop = state.loop = state.loop or OwnLoop()
    loop.trouble = event.reason
    mark(state, entry)


def finished(state: "TrainingState", event: LoopFinished, entry: Entry) -> None:
    """End it: the app's function has returned."""
    loop = state.loop = state.loop or OwnLoop()
    loop.exchanges, loop.replies = event.exchanges, event.replies
    loop.failed, loop.quarantined, loop.finished = event.failed, event.quarantined, True
    state.waiting, state.failure, state.phase = None, None, Phase.FINISHED
    mark(state, entry)
