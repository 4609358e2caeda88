"""Events of an app's own loop: it sends messages by itself, so there are exchanges instead of rounds."""

from dataclasses import dataclass, field
from typing import ClassVar

from oneflower.journal.events.base import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopStarted(Event):
    """An app sends its first message by itself, outside of a strategy's rounds.

    `recorded` replies of an earlier run are given again; `path` is where replies are recorded now, null where
    they are not.
    """

    app: str = ""
    recorded: int = 0
    path: str | None = None
    tag: ClassVar[str] = "loop_started"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeCompleted(Event):
    """What came of the messages that the app sent together: `messages` of them, of one `kind`.

    `replies` reached the app as they were; the others as errors: of a client that `failed`, or was
    `quarantined`. `silent` have not answered in time. Of the replies, `repeated` were in the recording.
    `bytes` is the size of the recording. `clients` are those whose replies reached the app.
    """

    exchange: int
    kind: str = ""
    messages: int
    replies: int = 0
    failed: int = 0
    quarantined: int = 0
    silent: int = 0
    repeated: int = 0
    seconds: float = 0.0
    size_bytes: int = field(default=0, metadata={"json": "bytes"})
    clients: tuple[str, ...] = ()
    tag: ClassVar[str] = "exchange_completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingStopped(Event):
    """Replies are not recorded any more, or the rest of a recording is not used; `reason` says why."""

    exchange: int
    reason: str
    tag: ClassVar[str] = "recording_stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopFinished(Event):
    """The app's main function has returned. Its model is where the app keeps it; oneflower has none."""

    app: str = ""
    exchanges: int
    replies: int = 0
    failed: int = 0
    quarantined: int = 0
    tag: ClassVar[str] = "loop_finished"
