"""A Grid whose node ids stay the same: replies are checked, recorded, and given again after a crash."""

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from oneflower.flower.api import Error, ErrorCode, Grid, Message, RecordDict, Run
from oneflower.flower.client_mark import take_mark
from oneflower.flower.outer_grid import OuterGrid, limited
from oneflower.flower.refusals import MB as UPDATE_MB
from oneflower.flower.waiting import pause_s
from oneflower.journal import Journal
from oneflower.settings import TrainingConfig
from oneflower.stock.checks import check_reply
from oneflower.stock.codec import Content, Kept, message_digest
from oneflower.stock.delivery import Delivery
from oneflower.stock.effects import check_own_loop, warn_own_loop
from oneflower.stock.exchange import LEFT_OUT, Exchange, Posted, in_order
from oneflower.stock.first_error import FirstError, final, none_at_the_end
from oneflower.stock.loop_noise import LoopNoise
from oneflower.stock.record import Recording, left_alone, recording_of
from oneflower.stock.stamp import Stamp
from oneflower.stock.telling import Telling
from oneflower.training.replies import ReplyError


class RecordingGrid(OuterGrid):
    """A Grid with stable node ids whose replies are checked, recorded, and given again after a crash.

    Parameters
    ----------
    inner : Grid
        Flower's own, or a `LocalGrid`.
    about : mapping
        What decides the replies besides the messages; see `Recording`.
    clock, sleep : callable
        Seconds that only grow; a pause in seconds.
    """

    def __init__(  # noqa: PLR0913 - two of them are for tests
        self,
        inner: Grid,
        *,
        config: TrainingConfig,
        journal: Journal | None,
        about: Mapping[str, object],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._plain = inner
        self._config = config
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.RLock()
        self.first_error = FirstError()
        self._recording = recording_of(config, about)
        self._delivery = Delivery(
            limited(inner, config.max_update_mb * UPDATE_MB),
            patience_s=config.round_timeout,
            clock=clock,
            sleep=sleep,
            pins=None if self._recording is None else self._recording.pins,
        )
        self._telling = Telling(journal=journal, app=str(about.get("app", "")))
        training = secrets.token_hex(16)
        self._stamp = Stamp(seed=config.seed, training=training, proximal_term=config.proximal_term)
        self._noise = LoopNoise()
        self._opened = False
        self._numbers: Counter[int] = Counter()
        self._sent = 0
        self._exchanges = 0
        self._open: dict[str, Exchange] = {}
        self._waited_for_nodes = False
        self._handed_over = False

    # --- Flower's interface -----------------------------------------------------------------------

    def set_run(self, run_id: int) -> None:
        """Set the run of the inner Grid."""
        self._plain.set_run(run_id)

    @property
    def run(self) -> Run:
        """Run information of the inner Grid; its id is another after each restart."""
        return self._plain.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message; deprecated in Flower, kept for apps that call it."""
        return self._plain.create_message(content, message_type, dst_node_id, group_id, ttl)

    @none_at_the_end
    @final
    def get_node_ids(self) -> Iterable[int]:
        """Return the stable ids of the nodes that are online; those of then while replies are given again.

        Behind the recording the nodes that the app knew then are waited for, for FL_ROUND_TIMEOUT at most.
        """
        with self._lock:
            recording = self._ready()
            if recording is None:
                return self._delivery.online_with([], self._telling.waiting)
            before = recording.nodes_after(self._sent)
            if recording.left and before:
                return before
            wait_for = [] if self._waited_for_nodes else before
            nodes = self._delivery.online_with(wait_for, self._telling.waiting)
            self._waited_for_nodes = True
            recording.note_nodes(self._sent, nodes)
            return nodes

    @final
    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages, or find what came of them in the recording; return their ids."""
        with self._lock:
            exchange = self._begin(list(messages))
            self._open.update(dict.fromkeys(exchange.posted, exchange))
            return list(exchange.posted)

    @final
    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have come, in the order of the nodes.

        Those to messages that were sent together are held back for each other for a short time: an app that
        takes them as they come computes the same in each run then.
        """
        with self._lock:
            wanted = {key: self._open[key] for key in message_ids if key in self._open}
            found: list[Message] = []
            self._advance_open()
            for exchange in in_order(wanted.values()):
                if not exchange.hands_out(self._clock()):
                    continue
                for posted in self._noise.after(exchange.take(wanted)):
                    del self._open[posted.key]
                    found.append(posted.reply_message(self.run.run_id))
            return found

    @final
    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and wait for their replies, or for the time out; the order is that of the nodes."""
        with self._lock:
            exchange = self._begin(list(messages))
        timeout_s = float("inf") if timeout is None else timeout
        while True:
            with self._lock:
                self._advance(exchange)
                elapsed = self._clock() - exchange.began
                if not exchange.waiting or elapsed >= timeout_s:
                    break
            self._sleep(pause_s(elapsed, self._delivery.outstanding, timeout_s, self._delivery.pacing))
        with self._lock:
            self._give_up(exchange, exchange.waiting)
            self._completed(exchange)
            return [
                each.reply_message(self.run.run_id)
                for each in self._noise.after(exchange.take(exchange.posted))
            ]

    # --- one exchange -----------------------------------------------------------------------------

    def _begin(self, messages: list[Message]) -> Exchange:
        """Give each message its number, and take what is recorded; send the others."""
        check_own_loop(self._config, messages)
        recording = self._ready()
        if self._telling.begins(recording):
            warn_own_loop(self._config)
        self._advance_open()
        self._exchanges += 1
        exchange = Exchange(number=self._exchanges, began=self._clock())
        for message in messages:
            node = message.metadata.dst_node_id
            self._numbers[node] += 1
            posted = Posted.of(message, node, self._numbers[node])
            exchange.posted[posted.key] = posted
            self._sent += 1
            if recording is not None:
                posted.digest = message_digest(message, node)
                kept = self._given_again(recording, posted)
                if kept is not None:
                    exchange.repeat(posted, kept.content)
                    self._stamp.recorded(node, posted.number)
        waiting = [exchange.posted[key] for key in exchange.waiting]
        self._delivery.post(each.parcel(self._clock(), self._stamp) for each in waiting)
        return exchange

    def _given_again(self, recording: Recording, posted: Posted) -> Kept | None:
        left = recording.left
        kept = recording.given_again((posted.node, posted.number), posted.digest)
        if kept is None and left and not recording.left:
            self._telling.stopped(self._exchanges, "the app sends other messages than were recorded")
        return kept

    def _advance_open(self) -> None:
        """Take up what has come for messages that were pushed, also where the app pulls no reply.

        Otherwise they would be sent again after a crash, between others that are repeated.
        """
        for exchange in in_order(self._open.values()):
            if exchange.waiting:
                self._advance(exchange)

    def _advance(self, exchange: Exchange) -> None:
        """Take up what has come for an exchange, and settle what has waited too long."""
        for key, reply in self._delivery.collect(exchange.waiting):
            self._arrived(exchange, exchange.posted[key], reply)
        now = self._clock()
        for key in self._delivery.missing(exchange.waiting):
            error = Error(ErrorCode.NODE_UNAVAILABLE, "the node has left, and has not come back in time")
            self._telling.failed(exchange, exchange.posted[key].node, error)
            self._settle(exchange, exchange.posted[key], error)
        late = [key for key in exchange.waiting if now - exchange.began > exchange.posted[key].ttl_s]
        self._delivery.give_up(late)
        for key in late:
            error = Error(ErrorCode.REPLY_MESSAGE_UNAVAILABLE, "no reply within the message's time to live")
            self._telling.failed(exchange, exchange.posted[key].node, error)
            self._settle(exchange, exchange.posted[key], error)
        self._completed(exchange)

    def _arrived(self, exchange: Exchange, posted: Posted, reply: Message) -> None:
        try:
            check_reply(reply)
            self._telling.named(exchange, posted.node, take_mark(reply))
        except ReplyError as error:
            self._telling.quarantined(exchange, posted.node, error)
            self._settle(exchange, posted, Error(ErrorCode.UNKNOWN, f"{LEFT_OUT}{error}"))
            return
        if reply.has_error():
            self._telling.failed(exchange, posted.node, reply.error)
            self._settle(exchange, posted, Error(reply.error.code, reply.error.reason))
            return
        self._settle(exchange, posted, reply.content if reply.has_content() else RecordDict())

    def _settle(self, exchange: Exchange, posted: Posted, content: Content) -> None:
        if exchange.first is None:
            exchange.first = self._clock()
        exchange.settle(posted, content)
        if self._recording is not None:
            before = self._recording.stopped
            self._recording.keep((posted.node, posted.number), posted.digest, content)
            if not self._recording.stopped:
                self._stamp.recorded(posted.node, posted.number)
            elif self._recording.stopped != before:
                self._telling.stopped(exchange.number, self._recording.stopped)

    def _give_up(self, exchange: Exchange, keys: list[str]) -> None:
        self._delivery.give_up(keys)
        for key in keys:
            exchange.silent += 1
            self._settle(exchange, exchange.posted[key], None)

    def _completed(self, exchange: Exchange) -> None:
        if exchange.waiting or exchange.told:
            return
        exchange.told = True
        size = 0 if self._recording is None else self._recording.size_bytes
        self._telling.completed(exchange, self._clock() - exchange.began, size)

    # --- beginning and end ------------------------------------------------------------------------

    def _ready(self) -> Recording | None:
        if not self._opened:
            self._opened = True
            if why := left_alone(self._recording, self._config):
                self._recording, self._telling.not_recorded = None, why
            if self._recording is not None:
                self._recording.open(resume=self._config.resume != "never")
                self._stamp.training = self._recording.training
                self._noise.begin(self._recording.folder)
        return self._recording

    @final
    def hand_over(self) -> Grid:
        """Return Flower's Grid for rounds of our own; the app's loop is then no training of its own."""
        self._handed_over = True
        return self._plain

    def finish(self) -> None:
        """Tell that the app's main function has returned, where it has sent messages by itself."""
        with self._lock:
            self._advance_open()
        if self._exchanges and not self._handed_over:
            self._telling.finished(self._exchanges)

    def close(self) -> None:
        """Let the folder of the recording go."""
        if self._recording is not None and self._opened:
            self._recording.close()
