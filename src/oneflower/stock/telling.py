"""What an own loop writes to the journal and the log: exchanges, and every client that was left out."""

from dataclasses import dataclass, field
from logging import INFO, WARNING

from oneflower.codes import LeftOutCode
from oneflower.flower.api import Error, log
from oneflower.flower.client_mark import ClientMark
from oneflower.foreign_text import shown
from oneflower.journal import LAST_WORDS_S, Event, Journal
from oneflower.journal.events import (
    ClientFailed,
    ClientLeftOut,
    ClientNamed,
    ClientQuarantined,
    ExchangeCompleted,
    LoopFinished,
    LoopStarted,
    RecordingStopped,
    WaitingForClients,
)
from oneflower.newest import Newest
from oneflower.stock.exchange import Exchange
from oneflower.stock.record import Recording
from oneflower.training.blame import code_of
from oneflower.training.devices import Devices
from oneflower.training.replies import ReplyError


@dataclass(slots=True, kw_only=True)
class Telling:
    """Writes what happens; a client is named by the stable id of its node."""

    journal: Journal | None
    app: str
    replies: int = 0
    failures: int = 0
    quarantines: int = 0
    not_recorded: str = "set FL_CHECKPOINT_ENABLED=YES and FL_REPLAY=YES"
    """Why nothing is recorded where nothing is, or what to do about it."""
    _names: dict[int, str] = field(default_factory=Newest)
    _devices: Devices = field(default_factory=Devices)
    _begun: bool = False

    def _record(self, event: Event) -> None:
        if self.journal is not None:
            self.journal.append(event)

    def begins(self, recording: Recording | None) -> bool:
        """Tell, once, that the app sends messages by itself, and what is recorded; return if this was it."""
        if self._begun:
            return False
        self._begun = True
        again = 0 if recording is None else recording.recorded
        path = None if recording is None else str(recording.folder)
        if recording is not None:
            log(
                INFO,
                "the app sends its messages by itself: recorded path=%s replies=%d",
                recording.folder,
                again,
            )
        else:
            log(
                WARNING,
                "the app sends its messages by itself, and nothing is recorded: a crash starts it from the "
                "beginning; %s",
                self.not_recorded,
            )
        self._record(LoopStarted(app=self.app, recorded=again, path=path))
        return True

    def waiting(self, connected: int, needed: int) -> None:
        """Tell that nodes that were there before the crash are not back."""
        self._record(WaitingForClients(connected=connected, needed=needed))

    def named(self, exchange: Exchange, node: int, mark: ClientMark) -> None:
        """Take up what a client calls itself, and what its GPUs have measured."""
        if mark.name and self._names.get(node) != mark.name:
            self._names[node] = mark.name
            self._record(ClientNamed(client=str(node), name=mark.name, partition=mark.partition))
        seen = self._devices.seen(exchange.number, str(node), mark)
        if seen is not None:
            self._record(seen)

    def failed(self, exchange: Exchange, node: int, error: Error) -> None:
        """Name a client whose reply is an error."""
        exchange.failed += 1
        reason = error.reason or "no reason given"
        self._left_out(ClientFailed, exchange, node, code_of(error.code), reason)

    def quarantined(self, exchange: Exchange, node: int, error: ReplyError) -> None:
        """Name a client whose reply does not reach the app."""
        exchange.quarantined += 1
        self._left_out(ClientQuarantined, exchange, node, error.code, str(error))

    def _left_out(
        self, event: type[ClientLeftOut], exchange: Exchange, node: int, code: LeftOutCode, reason: str
    ) -> None:
        words, label, reason = event.tag.replace("_", " "), self._names.get(node, str(node)), shown(reason)
        log(WARNING, "%s exchange=%d client=%s reason=%s", words, exchange.number, label, reason)
        self._record(event(round=exchange.number, client=str(node), code=code, reason=reason))

    def completed(self, exchange: Exchange, seconds: float, size_bytes: int) -> None:
        """Tell what has come of an exchange."""
        lost = exchange.failed + exchange.quarantined + exchange.silent
        replies = len(exchange.posted) - lost
        self.replies += replies
        self.failures += exchange.failed + exchange.silent
        self.quarantines += exchange.quarantined
        log(
            INFO,
            "exchange completed exchange=%d kind=%s messages=%d replies=%d failed=%d quarantined=%d",
            exchange.number,
            exchange.kind,
            len(exchange.posted),
            replies,
            exchange.failed,
            exchange.quarantined,
        )
        if exchange.repeated == len(exchange.posted):
            return  # the journal has it from the run before
        self._record(
            ExchangeCompleted(
                exchange=exchange.number,
                kind=exchange.kind,
                messages=len(exchange.posted),
                replies=replies,
                failed=exchange.failed,
                quarantined=exchange.quarantined,
                silent=exchange.silent,
                repeated=exchange.repeated,
                seconds=seconds,
                size_bytes=size_bytes,
                clients=tuple(map(str, exchange.answered)),
            )
        )

    def stopped(self, exchange: int, reason: str) -> None:
        """Tell that the recording is not used, or not written, from here on."""
        self._record(RecordingStopped(exchange=exchange, reason=reason))

    def finished(self, exchanges: int) -> None:
        """Tell that the app is done."""
        log(INFO, "the app has finished exchanges=%d; its model is where the app keeps it", exchanges)
        self._record(
            LoopFinished(
                app=self.app,
                exchanges=exchanges,
                replies=self.replies,
                failed=self.failures,
                quarantined=self.quarantines,
            )
        )
        if self.journal is not None:
            self.journal.flush(patience_s=LAST_WORDS_S)
