"""One phase of a round: send, check every reply as it comes, name every client that was left out."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from logging import INFO, WARNING

from oneflower.codes import LeftOutCode, Task
from oneflower.flower.api import Message, log
from oneflower.flower.client_mark import ClientMark, take_mark
from oneflower.flower.grid import Reply, RoundGrid
from oneflower.flower.parts import PartTable
from oneflower.flower.refusals import refusal_of, was_too_large, words_of
from oneflower.foreign_text import shown
from oneflower.journal import Aggregated, Event, Journal, unfinished_round
from oneflower.journal.events import (
    ClientFailed,
    ClientJoined,
    ClientLeft,
    ClientLeftOut,
    ClientNamed,
    ClientQuarantined,
    PartsAssigned,
    ReplyReceived,
    WaitingForClients,
)
from oneflower.newest import Newest
from oneflower.training.blame import MALFORMED, RAISED, code_of, lacks_evaluate
from oneflower.training.collected import Collected, Parse, Parsed
from oneflower.training.controls import Controls
from oneflower.training.devices import Devices
from oneflower.training.draw import Draw, Sampler
from oneflower.training.members import Members
from oneflower.training.replies import ReplyError
from oneflower.training.shown import Shown

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
NO_REASON = "no reason given"


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """Runs phases over a grid and writes what happened to the log and the journal.

    Parameters
    ----------
    round_timeout_s : float
        How long a phase waits for its clients, and how long it waits for clients to connect.
    connected : set of int
        The nodes that were there when it was last looked; changes of it are told.
    parts : PartTable
        Which part of the data each member has in the round that runs; see `assign_parts`.
    names : dict of int to str
        What the nodes are called, as far as their clients have said; it labels what is shown.
    shown : Shown
        What the clients have shown of their app.
    devices : Devices
        What they train on.
    members : Members
        Who has given valid updates, and who fails again and again.
    controls : Controls
        Tells the clients' processes, with each message, which training and round it belongs to.
    sampler : Sampler, optional
        Draws the clients of a phase where not all are asked.
    deadline_s : float
        How long a phase waits for more replies after its quorum; 0 measures what is usual.
    """

    grid: RoundGrid
    journal: Journal | None
    round_timeout_s: float
    connected: set[int] = field(default_factory=set)
    parts: PartTable = field(default_factory=PartTable)
    names: dict[int, str] = field(default_factory=Newest)
    shown: Shown = field(default_factory=Shown)
    devices: Devices = field(default_factory=Devices)
    members: Members = field(default_factory=Members)
    controls: Controls = field(default_factory=Controls)
    sampler: Sampler | None = None
    deadline_s: float = 0.0

    def record(self, event: Event) -> None:
        """Write an event to the journal, where the training has one."""
        if self.journal is not None:
            self.journal.append(event)

    def back_off(self, attempt: int) -> None:
        """Give clients time to come back after a failed try: 1, 2, 4 s and so on, half a minute at most."""
        self.grid.pause(min(FIRST_PAUSE_S * 2.0 ** (attempt - 1), LONGEST_PAUSE_S))

    def unfinished(self, number: int) -> Aggregated | None:
        """Return what the journal has of a round that a crash interrupted before its end was told."""
        return None if self.journal is None else unfinished_round(self.journal.path, number)

    def gather_cohort(self, needed: int, *, counted: bool = False) -> list[int]:
        """Wait for `needed` nodes, visibly; return those that are there, fewer after the timeout.

        With `counted`, clients that only fail do not make up the number while one that trains is away.
        """
        uncounted = self.members.no_substitutes if counted else (lambda *_: set[int]())

        def report(connected: int, failing: set[int]) -> None:
            said = [f"{self.label(node)} ({self.members.failures[node]} times)" for node in sorted(failing)]
            words = f" counted={connected - len(failing)} failed_in_a_row={said}" if said else ""
            log(INFO, "waiting for clients connected=%d needed=%d%s", connected, needed, words)
            names = tuple(str(node) for node in sorted(failing))
            self.record(WaitingForClients(connected=connected, needed=needed, failing=names))

        self._tell_changes(self.grid.online())
        cohort = self.grid.wait_for_nodes(
            needed, timeout_s=self.round_timeout_s, on_wait=report, uncounted=uncounted
        )
        self._tell_changes(self.grid.online())
        self.grid.set_cohort(cohort)
        return cohort

    def assign_parts(self, server_round: int) -> None:
        """Take up the table of parts as it is now, for all messages until the next call; tell a change."""
        if self.parts.look():
            if self.sampler is not None:
                self.sampler.roll.forget()
            members = list(self.parts.members)
            log(INFO, "parts assigned round=%d members=%s", server_round, members)
            self.record(PartsAssigned(round=server_round, members=tuple(members)))

    def _tell_changes(self, nodes: Iterable[int]) -> None:
        """Name the clients that have joined and left since the last time."""
        now = set(nodes)
        for event, changed in ((ClientLeft, self.connected - now), (ClientJoined, now - self.connected)):
            for node_id in sorted(changed):
                words = event.tag.replace("_", " ")
                log(INFO, "%s client=%s connected=%d", words, self.label(node_id), len(now))
                self.record(event(client=str(node_id), connected=len(now)))
        self.connected.clear()
        self.connected.update(now)

    def collect(  # noqa: PLR0913 - by name only
        self,
        phase: str,
        server_round: int,
        messages: Iterable[Message],
        *,
        quorum: Callable[[int], int],
        parse: Parse[Parsed],
        draw: Draw | None = None,
    ) -> Collected[Parsed]:
        """Exchange the messages of one phase and parse every reply when it arrives.

        `quorum` returns how many valid replies are enough, given the number of quarantined ones. With a
        `draw` the phase is over once no missing reply can count.
        """
        started = time.monotonic()
        valid: list[Parsed] = []
        refused: list[ReplyError] = []
        too_large, raised = 0, []
        asked, accepted, answered = list(messages), set[int](), set[int]()
        work = _work(phase, server_round, asked)
        replies = self.grid.exchange(
            self.controls.into(asked, server_round, self.parts.members),
            timeout_s=self.round_timeout_s,
            enough=lambda: len(valid) >= quorum(len(refused)),
            is_valid=lambda reply: reply.node_id in accepted,
            done=lambda: draw is not None and draw.settled(accepted, answered - accepted),
            deadline_s=self.deadline_s,
            work=work,
        )
        for reply in replies:
            answered.add(reply.node_id)
            try:
                self._take_mark(phase, server_round, reply)
                if not reply.message.has_error():
                    valid.append(_parsed(reply, parse))
                    accepted.add(reply.node_id)
            except ReplyError as error:
                self.leave_out(ClientQuarantined, server_round, reply.node_id, error.code, str(error))
                refused.append(error)
                continue
            if reply.message.has_error():
                self._tell_failed(phase, server_round, reply)
                too_large += was_too_large(reply.message.error)
                if reply.message.error.code in RAISED:
                    raised.append(shown(reply.message.error.reason or NO_REASON))
                continue
            self.record(
                ReplyReceived(
                    round=server_round, phase=Task(phase), client=str(reply.node_id), seconds=reply.seconds
                )
            )
        nodes = {message.metadata.dst_node_id for message in asked}
        if draw is not None and draw.settled(accepted, answered - accepted):
            nodes &= answered
        missing = sorted(nodes - answered)
        silent = self._leave_out_silent(phase, server_round, missing, time.monotonic() - started)
        return Collected(
            valid=valid,
            quarantined=len(refused),
            asked=len(asked),
            nodes=frozenset(nodes),
            raised=tuple(raised),
            malformed=tuple(shown(str(error)) for error in refused if error.code in MALFORMED),
            silent=silent,
            not_finite=sum(error.code is LeftOutCode.NOT_FINITE for error in refused),
            too_large=too_large + sum(error.code is LeftOutCode.TOO_LARGE for error in refused),
            draw=draw,
        )

    def _take_mark(self, phase: str, server_round: int, reply: Reply) -> None:
        """Take up what a client says about itself; raise ReplyError for a reply that was refused."""
        if refusal := refusal_of(reply.message):
            raise ReplyError(refusal.reason or "", refusal.why)
        mark = take_mark(reply.message)
        self._name(reply.node_id, mark)
        self.shown.take(self.label(reply.node_id), mark)
        failed = reply.message.has_error()
        self.devices.take(mark, trained=phase == Task.TRAIN and not failed)
        if not failed or mark.gpus:
            self._record_gpus(server_round, str(reply.node_id), mark)

    def _record_gpus(self, server_round: int, client: str, mark: ClientMark) -> None:
        seen = self.devices.seen(server_round, client, mark)
        if seen is not None:
            self.record(seen)

    def _tell_failed(self, phase: str, server_round: int, reply: Reply) -> None:
        reason = reply.message.error.reason or NO_REASON
        if not (phase == "evaluate" and lacks_evaluate([reason])):  # that is no failure of a client
            code = code_of(reply.message.error.code)
            self.leave_out(ClientFailed, server_round, reply.node_id, code, reason)

    def _leave_out_silent(
        self, phase: str, server_round: int, missing: Iterable[int], waited_s: float
    ) -> int:
        """Name those that have not answered; return how many of them are connected still."""
        nodes = list(missing)
        online = set(self.grid.online()) if nodes else set()
        for node_id in nodes:
            reason = f"no answer to {phase} in {waited_s:.0f} s"
            if node_id in online:
                reason += f": still connected, working since {self.grid.silent_s(node_id) or waited_s:.0f} s"
            self.leave_out(ClientFailed, server_round, node_id, LeftOutCode.NO_ANSWER, reason)
        return len(online.intersection(nodes))

    def _name(self, node_id: int, mark: ClientMark) -> None:
        """Take up what a client calls itself; two that are there at once are told apart by their parts."""
        if not mark.name:
            return
        others = {name for node, name in self.names.items() if node != node_id and node in self.connected}
        name = mark.name
        if name in others:
            name = f"{name}/{str(node_id)[-6:] if mark.partition is None else mark.partition}"
        if self.names.get(node_id) == name or name in others:
            return
        self.names[node_id] = name
        log(INFO, "client named client=%d name=%s partition=%s", node_id, name, mark.partition)
        self.record(ClientNamed(client=str(node_id), name=name, partition=mark.partition))

    def label(self, node_id: int) -> str:
        """Return what a node is called: its name, Flower's id as long as it has told none."""
        return self.names.get(node_id, str(node_id))

    def leave_out(
        self,
        event: type[ClientLeftOut],
        server_round: int,
        node_id: int,
        code: LeftOutCode,
        reason: str,
    ) -> None:
        """Name a client that takes no part in this round, and why; its own words are cut and escaped."""
        reason = shown(reason)
        log(
            WARNING,
            "%s round=%d client=%s reason=%s",
            event.tag.replace("_", " "),
            server_round,
            self.label(node_id),
            reason,
        )
        self.record(event(round=server_round, client=str(node_id), code=code, reason=reason))


def _parsed(reply: Reply, parse: Parse[Parsed]) -> Parsed:
    """Return what a reply says; whatever a client can cause while it is read is that client's."""
    try:
        return parse(reply)
    except ReplyError:
        raise
    except Exception as error:
        raise ReplyError(f"the reply cannot be read ({words_of(error)})", LeftOutCode.UNREADABLE) from error


def _work(phase: str, server_round: int, messages: list[Message]) -> str:
    """Return what messages ask for; the model of a round stays the same until its updates are valid."""
    records = messages[0].content.config_records.items() if messages else ()
    config = sorted((name, sorted(record.items())) for name, record in records)
    return f"{phase} {server_round} {config!r}"
