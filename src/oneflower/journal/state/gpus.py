"""What the GPUs of each client measured last, and the XID errors of them all."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Self

from oneflower.gpu.readings import MOST_GPUS, MOST_XIDS, PROCESSOR, Reading
from oneflower.journal.events import Entry, GpuSeen
from oneflower.journal.state.records import Client

if TYPE_CHECKING:
    from oneflower.journal.state.training import TrainingState

MOST_TIMES: Final = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientGpus:
    """What one client said of its GPUs.

    Attributes
    ----------
    series
        The label of its metrics. It stays the same, whatever the client calls itself later, and no other
        client has it.
    device
        What its app trained on last; empty where it did not say so.
    readings
        The last of each GPU, by its place; 16 GPUs at most.
    xids
        By place: how often each XID error was reported, over the training.
    round
        The round of the last reading.
    """

    series: str
    device: str = ""
    readings: Mapping[str, Reading] = field(default_factory=dict)
    xids: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    round: int = 0

    @property
    def on_processor(self) -> bool:
        """Whether its app trains on the processor, although FL_GPU_ENABLED is YES."""
        return self.device == PROCESSOR

    def with_seen(self, event: GpuSeen) -> Self:
        """Return it with one more reading; an error reply names those GPUs alone that have failed."""
        xids = dict(self.xids)
        for each in event.gpus:
            if each.xids and (each.place in xids or len(xids) < MOST_GPUS):
                xids[each.place] = _added(xids.get(each.place, {}), each.xids)
        return replace(
            self,
            device=event.device or self.device,
            readings=_measured(self.readings, event.gpus),
            xids=xids,
            round=event.round,
        )

    def before_any_reading(self) -> Self:
        """Return what stays of it when its client is started again: it may have no GPU any more."""
        return replace(self, device="", readings={})

    def after(self, before: Self) -> Self:
        """Return it as that of the client which was `before` this one under another id of Flower's."""
        xids = {place: dict(found) for place, found in before.xids.items()}
        for place, found in self.xids.items():
            xids[place] = _added(xids.get(place, {}), found)
        return replace(self, series=before.series, xids=dict(list(xids.items())[:MOST_GPUS]))


def seen(state: "TrainingState", event: GpuSeen, entry: Entry) -> None:
    """Keep the last reading of a client."""
    client = state.roster.get(event.client)
    if client is None:
        client = state.roster[event.client] = Client(event.client)
    client.seen(entry.time)
    before = client.gpus or ClientGpus(series=_series(state, client))
    client.gpus = before.with_seen(event)


def _series(state: "TrainingState", client: Client) -> str:
    """Return a label that no client has had: what it calls itself, with its id where another has that."""
    taken = {each.gpus.series for each in state.roster.values() if each.gpus is not None}
    if client.shown not in taken:
        return client.shown
    short = f"{client.shown}/{client.name[-6:]}"
    return short if short not in taken else f"{client.shown}/{client.name}"


def _added(before: Mapping[int, int], new: Mapping[int, int]) -> dict[int, int]:
    """Return sums; of too many kinds those that came first."""
    found = Counter(before)
    for number, times in new.items():
        if number in found or len(found) < MOST_XIDS:
            found[number] = min(found[number] + times, MOST_TIMES)
    return dict(found)


def _measured(before: Mapping[str, Reading], new: tuple[Reading, ...]) -> dict[str, Reading]:
    """Return the readings of a reply; the numbers of before where it has none of a GPU."""
    found = dict(before) if new and all(_is_empty(each) for each in new) else {}
    for each in new:
        if each.place not in found or not _is_empty(each):
            found[each.place] = each
    return dict(list(found.items())[:MOST_GPUS])


def _is_empty(reading: Reading) -> bool:
    return reading == Reading(
        index=reading.index, instance=reading.instance, name=reading.name, xids=reading.xids
    )
