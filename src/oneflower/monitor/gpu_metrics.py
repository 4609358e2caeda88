"""What the clients' GPUs measure as Prometheus metrics: one series a GPU, as long as its client is here."""

from collections.abc import Callable, Iterator
from itertools import islice, zip_longest
from typing import Final, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from oneflower.foreign_text import printable
from oneflower.gpu.readings import Reading
from oneflower.journal import TrainingState
from oneflower.monitor.state.gpus import GpuClient, gpu_clients

Found = TypeVar("Found")
Family = GaugeMetricFamily | CounterMetricFamily

MOST_GPUS: Final = 1000
"""So many GPUs have series, and so many clients: a client may claim to have any number."""
LABELS: Final = ("client", "gpu", "name")

_GAUGES: Final[tuple[tuple[str, str, Callable[[Reading], float | None]], ...]] = (
    ("utilisation_ratio", "Share of its last message in which a GPU worked.", lambda each: each.utilisation),
    ("memory_used_bytes", "The most memory in use of a GPU.", lambda each: each.memory_used_bytes),
    ("memory_total_bytes", "All memory of a GPU.", lambda each: each.memory_total_bytes),
    ("temperature_celsius", "The highest temperature of a GPU.", lambda each: each.temperature_c),
    ("power_watts", "What a GPU took on average.", lambda each: each.power_w),
)


def gpu_families(view: TrainingState) -> Iterator[Family]:
    """Yield every family; without GPUs they have no series."""
    clients = _in_order(view)
    found = [(each.gpus.series, reading) for each, reading in _in_turn(clients, _readings)]
    yield _gauge("oneflower_gpus", "GPUs that the clients have reported; 1000 have series.", len(found))
    left_out = max(0, len(found) - MOST_GPUS)
    yield _gauge("oneflower_gpus_left_out", "GPUs that have no series, as there are too many.", left_out)
    on_processor = GaugeMetricFamily(
        "oneflower_client_on_processor",
        "1 for a client that trains on its processor although FL_GPU_ENABLED is YES, else 0.",
        labels=["client"],
    )
    for each in [each for each in clients if each.gpus.device][:MOST_GPUS]:
        on_processor.add_metric([each.gpus.series], each.gpus.on_processor)
    yield on_processor
    for metric, text, value_of in _GAUGES:
        family = GaugeMetricFamily(f"oneflower_gpu_{metric}", text, labels=LABELS)
        for name, reading in found[:MOST_GPUS]:
            value = value_of(reading)
            if value is not None:
                family.add_metric([name, reading.place, printable(reading.name)], value)
        yield family
    yield _ecc(found)
    yield _xids(clients)


def _in_order(view: TrainingState) -> list[GpuClient]:
    """Return the clients in the order in which they got their series: it stays the same between scrapes."""
    places = {series: place for place, series in enumerate(view.gpu_series)}
    return sorted(gpu_clients(view), key=lambda each: places.get(each.gpus.series, len(places)))


def _in_turn(
    clients: list[GpuClient], found_of: Callable[[GpuClient], list[Found]]
) -> Iterator[tuple[GpuClient, Found]]:
    """Yield the first thing of each client, then the second of each: one with many pushes nobody out."""
    for turn in zip_longest(*map(found_of, clients)):
        yield from ((client, each) for client, each in zip(clients, turn, strict=True) if each is not None)


def _readings(client: GpuClient) -> list[Reading]:
    return list(client.gpus.readings.values())


def _errors(client: GpuClient) -> list[tuple[str, int, int]]:
    """Return place, number and times; the first kind of each GPU comes first."""
    of_gpus = [[(place, *each) for each in found.items()] for place, found in client.gpus.xids.items()]
    return [each for turn in zip_longest(*of_gpus) for each in turn if each is not None]


def _ecc(found: list[tuple[str, Reading]]) -> CounterMetricFamily:
    text = "Uncorrected memory errors of a GPU since its driver was loaded."
    family = CounterMetricFamily("oneflower_gpu_ecc_uncorrected_errors", text, labels=LABELS)
    for name, reading in found[:MOST_GPUS]:
        if reading.ecc_errors is not None:
            family.add_metric([name, reading.place, printable(reading.name)], reading.ecc_errors)
    return family


def _xids(clients: list[GpuClient]) -> CounterMetricFamily:
    text = "XID errors that the driver has reported, by number."
    family = CounterMetricFamily("oneflower_gpu_xid_errors", text, labels=["client", "gpu", "xid"])
    for client, (place, number, times) in islice(_in_turn(clients, _errors), MOST_GPUS):
        family.add_metric([client.gpus.series, place, str(number)], times)
    return family


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text)
    family.add_metric([], value)
    return family
