"""What the GPUs of each client measured last, and the XID errors of them all."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, count
from typing import TYPE_CHECKING, Final, Self

from oneflower.foreign_text import printable
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
        The label of its metrics, as it is shown. It stays the same, whatever the client calls itself later,
        and no other client has it.
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

    def after(self, _before: Self) -> Self:
        """Return it as it is: a client that gets a history keeps its own series and errors."""
        return self


def seen(state: "TrainingState", event: GpuSeen, entry: Entry) -> None:
    """Keep the last reading of a client."""
    client = state.roster.get(event.client)
    if client is None:
        client = state.roster[event.client] = Client(event.client)
    client.seen(entry.time)
    if client.gpus is None:
        client.gpus = ClientGpus(series=_series(state, client))
        state.gpu_series[client.gpus.series] = client.name
    client.gpus = client.gpus.with_seen(event)


def _series(state: "TrainingState", client: Client) -> str:
    """Return a label that no client has: what it calls itself, with its id where another has that."""
    name, given = client.shown, state.gpu_series
    whole = f"{name}/{client.name}"
    forms = chain([name, f"{name}/{client.name[-6:]}", whole], (f"{whole}/{number}" for number in count(2)))
    return next(shown for shown in map(printable, forms) if given.get(shown) not in state.roster)


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
