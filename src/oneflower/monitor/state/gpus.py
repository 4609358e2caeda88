"""The clients that have GPUs, or should have: what was measured last, and what is wrong with it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from oneflower.gpu.readings import Reading
from oneflower.journal import TrainingState
from oneflower.journal.state.gpus import ClientGpus
from oneflower.journal.state.records import Client
from oneflower.words import counted

HOT_C: Final = 85.0
FULL: Final = 0.95
"""Of its memory: a GPU with more in use has nearly none left. The alert rules hold both numbers, too."""
MOST_ERRORS_NAMED: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuClient:
    """A client that is here, and its GPUs."""

    client: Client
    gpus: ClientGpus

    @property
    def troubles(self) -> list[str]:
        """What is wrong with any of them, in words."""
        found = ["trains on the processor"] if self.gpus.on_processor else []
        places = dict.fromkeys([*self.gpus.readings, *self.gpus.xids])
        return found + [
            f"GPU {place}: {', '.join(words)}" for place in places if (words := self.wrong(place))
        ]

    def wrong(self, place: str) -> list[str]:
        """Return what is wrong with one of them, in words."""
        reading = self.gpus.readings.get(place)
        errors = list(_xid_words(self.gpus, place))
        return errors if reading is None else [*errors, *_words_of(reading)]


def gpu_clients(state: TrainingState) -> list[GpuClient]:
    """Return the clients that are here and said something of a GPU: those in trouble first, then by name."""
    found = [
        GpuClient(client=client, gpus=client.gpus)
        for client in state.roster.values()
        if client.gpus is not None
        and not client.gone
        and client.connected is not False
        and (client.gpus.device or client.gpus.readings or client.gpus.xids)
    ]
    return sorted(found, key=lambda each: (not each.troubles, each.client.shown))


def memory_share(reading: Reading) -> float | None:
    """Return which share of its memory is in use; None where that is not known."""
    used, total = reading.memory_used_bytes, reading.memory_total_bytes
    return used / total if used is not None and total else None


def _xid_words(gpus: ClientGpus, place: str) -> Iterator[str]:
    errors = sorted(gpus.xids.get(place, {}).items())
    for number, times in errors[:MOST_ERRORS_NAMED]:
        yield f"XID {number}" if times == 1 else f"XID {number} ({counted(times, 'time')})"
    if len(errors) > MOST_ERRORS_NAMED:
        yield f"{len(errors) - MOST_ERRORS_NAMED} more kinds of XID errors"


def _words_of(reading: Reading) -> Iterator[str]:
    if reading.ecc_errors:
        yield counted(reading.ecc_errors, "uncorrected memory error")
    if reading.temperature_c is not None and reading.temperature_c > HOT_C:
        yield f"{reading.temperature_c:.0f} °C"
    share = memory_share(reading)
    if share is not None and share > FULL:
        yield "memory nearly full"
