"""Who answers, joins, leaves, or is left out."""

from typing import TYPE_CHECKING, Final

from oneflower.codes import Outcome, Phase, Task
from oneflower.journal.events import (
    ClientBounded,
    ClientFailed,
    ClientJoined,
    ClientLeft,
    ClientLeftOut,
    ClientNamed,
    ClientQuarantined,
    Entry,
    PartsAssigned,
    ReplyReceived,
    WaitingForClients,
)
from oneflower.journal.state.marks import mark
from oneflower.journal.state.records import Client, LeftOut

if TYPE_CHECKING:
    from oneflower.journal.state.training import TrainingState

_ANSWERED: Final = Outcome.ANSWERED
_TRAIN: Final = Task.TRAIN


def waiting(state: "TrainingState", event: WaitingForClients, entry: Entry) -> None:
    """Wait for more clients."""
    if state.waiting is None:
        mark(state, entry)
    state.waiting, state.phase = event, Phase.WAITING


def replied(state: "TrainingState", event: ReplyReceived, entry: Entry) -> None:
    """Note one of two replies a client and round: nine events of ten, so nothing is looked up twice."""
    name = event.client
    client = state.roster.get(name) or _client(state, name)
    client.seen(entry.time)
    if event.phase is not _TRAIN:
        state.phase = Phase.EVALUATING
        state.evaluated.add(name)
        return
    state.phase = Phase.TRAINING
    state.replies += 1
    client.trained += 1
    client.train_seconds = state.answered[name] = event.seconds
    number = event.round
    client.note(number, _ANSWERED)
    if number in state.absent:
        state.absent[number].pop(name, None)


def exchanged(state: "TrainingState", name: str, exchange: int, entry: Entry) -> None:
    """Note a reply to a message that the app has sent by itself."""
    client = _client(state, name)
    client.seen(entry.time)
    client.trained += 1
    client.note(exchange, _ANSWERED)


def joined(state: "TrainingState", event: ClientJoined, entry: Entry) -> None:
    """Note a client that has joined."""
    client = _client(state, event.client)
    client.seen(entry.time)
    client.connected = True


def left(state: "TrainingState", event: ClientLeft, entry: Entry) -> None:
    """Note a client that has left."""
    client = _client(state, event.client)
    if client.connected is not False:
        mark(state, entry)
    client.connected = False
    back = _back_already(state, client)
    if back is not None:
        _hand_over(state, client, back)


def _back_already(state: "TrainingState", client: Client) -> Client | None:
    """Return the later id of a SuperNode that was restarted before the lease of its old id ended."""
    if not client.label:
        return None
    names = list(state.roster)
    later = (state.roster[name] for name in names[names.index(client.name) + 1 :])
    return next((each for each in later if _may_be(state, client, each, each.label, each.partition)), None)


def named(state: "TrainingState", event: ClientNamed, entry: Entry) -> None:
    """Note what a client is called; one that has come back under another id goes on with its history."""
    client = _client(state, event.client)
    state.names[event.client] = event.name
    if _is_other(client, event):
        state.renamed.add(client.name)
    away = (each for each in state.roster.values() if each is not client and not each.is_here)
    before = next((each for each in away if _may_be(state, each, client, event.name, event.partition)), None)
    if before is not None:
        _hand_over(state, before, client)
    client.label, client.partition = event.name, event.partition
    if state.loop is not None:  # it says so beside a reply
        client.seen(entry.time)


def _may_be(state: "TrainingState", before: Client, client: Client, name: str, partition: int | None) -> bool:
    """Tell whether a client that says this of itself is the one of an earlier id, as far as that has told."""
    parts = {before.partition, partition} - {None}
    if before is client or before.label != name or len(parts) == 2:
        return False
    return before.gpus is None or client.name not in state.renamed  # GPUs are not those of another client


def _is_other(client: Client, event: ClientNamed) -> bool:
    """Tell whether a client says now that it is another; while two of one name are here, one has a suffix."""
    same = {event.name, f"{event.name}/{event.partition}", f"{event.name}/{client.name[-6:]}"}
    return bool(client.label) and (
        client.label not in same or client.partition not in (None, event.partition)
    )


def _hand_over(state: "TrainingState", before: Client, client: Client) -> None:
    """Let a client go on with the row of its earlier id."""
    before.come_back_as(client)
    if before.gpus is not None:
        state.gpu_series[before.gpus.series] = client.name
    state.renamed.discard(before.name)
    del state.roster[before.name]
    if before.name in state.bounded:
        state.bounded[client.name] += state.bounded.pop(before.name)


def starts_again(state: "TrainingState") -> None:
    """Take all clients for gone: a ServerApp that starts tells of each that is there, under an id of now."""
    for client in state.roster.values():
        client.gone = True


def parts_assigned(state: "TrainingState", event: PartsAssigned, entry: Entry) -> None:
    """Note which VM has which part of the data."""
    if event.members != state.parts:
        mark(state, entry)
    state.parts = event.members


def quarantined(state: "TrainingState", event: ClientQuarantined, entry: Entry) -> None:
    """Leave a client out whose update failed its check."""
    client = _client(state, event.client)
    if not client.quarantines:
        mark(state, entry)
    client.seen(entry.time)
    client.quarantines += 1
    state.quarantines[event.code] += 1
    _leave_out(state, client, event, entry, Outcome.QUARANTINED)


def bounded(state: "TrainingState", event: ClientBounded, entry: Entry) -> None:
    """Count a client whose update was used, but not as it came."""
    if event.client not in state.bounded:
        mark(state, entry)
    state.bounded[event.client] += 1


def failed(state: "TrainingState", event: ClientFailed, entry: Entry) -> None:
    """Leave a client out that gave no update."""
    client = _client(state, event.client)
    if not client.failures:
        mark(state, entry)
    client.failures += 1
    state.failures[event.code] += 1
    _leave_out(state, client, event, entry, Outcome.FAILED)


def _leave_out(
    state: "TrainingState", client: Client, event: ClientLeftOut, entry: Entry, outcome: Outcome
) -> None:
    number = event.round
    client.gone = False
    client.last_reason, client.last_code = event.reason, event.code
    client.note(number, outcome)
    state.absent.setdefault(number, {})[client.name] = outcome
    state.answered.pop(client.name, None)
    state.left_out.append(
        LeftOut(
            number=number,
            client=client.name,
            code=event.code,
            reason=event.reason,
            outcome=outcome,
            time=entry.time,
        )
    )


def _client(state: "TrainingState", name: str) -> Client:
    client = state.roster.get(name)
    if client is None:
        client = state.roster[name] = Client(name)
    return client
