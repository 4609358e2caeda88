"""What the clients' GPUs measure as Prometheus metrics: one series a GPU, as long as its client is here."""

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from oneflower.foreign_text import printable
from oneflower.gpu.readings import Reading
from oneflower.journal import TrainingState
from oneflower.monitor.state.gpus import GpuClient, gpu_clients

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
    shown = _by_series(gpu_clients(view))
    found = [(name, each) for name, client in shown.items() for each in client.gpus.readings.values()]
    yield _gauge("oneflower_gpus", "GPUs that the clients have reported; 1000 have series.", len(found))
    on_processor = GaugeMetricFamily(
        "oneflower_client_on_processor",
        "1 for a client that trains on its processor although FL_GPU_ENABLED is YES, else 0.",
        labels=["client"],
    )
    for name, client in list(shown.items())[:MOST_GPUS]:
        if client.gpus.device:
            on_processor.add_metric([name], client.gpus.on_processor)
    yield on_processor
    for metric, text, value_of in _GAUGES:
        family = GaugeMetricFamily(f"oneflower_gpu_{metric}", text, labels=LABELS)
        for name, reading in found[:MOST_GPUS]:
            value = value_of(reading)
            if value is not None:
                family.add_metric([name, reading.place, printable(reading.name)], value)
        yield family
    yield _ecc(found)
    yield _xids(shown)


def _by_series(clients: list[GpuClient]) -> dict[str, GpuClient]:
    """Return the clients by label as it is shown: two series of one name would make a scrape fail."""
    return {printable(each.gpus.series): each for each in clients}


def _ecc(found: list[tuple[str, Reading]]) -> CounterMetricFamily:
    text = "Uncorrected memory errors of a GPU since its driver was loaded."
    family = CounterMetricFamily("oneflower_gpu_ecc_uncorrected_errors", text, labels=LABELS)
    for name, reading in found[:MOST_GPUS]:
        if reading.ecc_errors is not None:
            family.add_metric([name, reading.place, printable(reading.name)], reading.ecc_errors)
    return family


def _xids(shown: dict[str, GpuClient]) -> CounterMetricFamily:
    text = "XID errors that the driver has reported, by number."
    family = CounterMetricFamily("oneflower_gpu_xid_errors", text, labels=["client", "gpu", "xid"])
    found = [
        ([name, place, str(number)], times)
        for name, client in shown.items()
        for place, errors in client.gpus.xids.items()
        for number, times in sorted(errors.items())
    ]
    for labels, times in found[:MOST_GPUS]:
        family.add_metric(labels, times)
    return family


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text)
    family.add_metric([], value)
    return family
