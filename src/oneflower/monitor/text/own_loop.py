"""What is said of an app with a loop of its own: exchanges, where its model is, and what is recorded."""

from collections.abc import Iterator
from typing import Final

from oneflower.codes import Phase
from oneflower.journal import TrainingState
from oneflower.journal.state import OwnLoop
from oneflower.monitor.text.values import size
from oneflower.words import counted

MODEL: Final = "where the app keeps it: oneflower has none"
NO_ROUNDS: Final = "The app sends its messages in a loop of its own: there are no rounds."


def exchanges_text(loop: OwnLoop) -> str:
    """Return what came of all messages: ``5 exchanges: 10 messages, 9 replies, 1 quarantined``."""
    return f"{counted(loop.exchanges, 'exchange')}: {_messages(loop)}"


def _messages(loop: OwnLoop) -> str:
    lost = {"failed": loop.failed, "quarantined": loop.quarantined}
    parts = [
        counted(loop.messages, "message"),
        counted(loop.replies, "reply", "replies"),
        *(f"{number} {word}" for word, number in lost.items() if number),
    ]
    return ", ".join(parts)


def recording_text(loop: OwnLoop) -> str:
    """Return where the replies are recorded, or what it means that they are not."""
    if loop.path is None:
        return "none" if loop.finished else "none: a crash starts the app from the beginning"
    trouble = f"; {loop.trouble}" if loop.trouble else ""
    return f"{size(loop.size_bytes)} in {loop.path}{trouble}"


def crash_sentence(state: TrainingState, loop: OwnLoop) -> str:
    """Say what is kept of the work, and what a crash costs."""
    if loop.path is None:
        return "Nothing is recorded: a crash starts the app from the beginning."
    where = f"The replies to {counted(loop.exchanges, 'exchange')} are recorded in {loop.path}"
    trouble = f" Not all of them: {loop.trouble}." if loop.trouble else ""
    if state.phase is Phase.FINISHED:
        return f"{where}.{trouble}"
    return f"{where}: the same command gives them to the app again, and goes on behind them.{trouble}"


def loop_rows(loop: OwnLoop) -> Iterator[tuple[str, str]]:
    """Yield the rows of a summary in the place of rounds and of the final model."""
    yield "exchanges", f"{loop.exchanges} of the app's own loop, {_messages(loop)}"
    yield "recording", recording_text(loop)
    if loop.finished:
        yield "model", MODEL
