"""Watch the GPUs while the app works on a message: the mark of the reply carries what they measured."""

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from oneflower.flower.app_gpus import app_gpus
from oneflower.flower.calls.used_device import used_device
from oneflower.flower.client_mark import Report
from oneflower.gpu.nvml import Nvml, visible_devices
from oneflower.gpu.readings import Reading, record_of, short_name, text_of

log = logging.getLogger(__name__)

PERIOD_S: Final = 1.0
"""NVML's utilisation is that of the last second, or less."""
LONGEST_WAIT_S: Final = 2.0
"""A driver that hangs delays a reply no longer."""
MOST_GPUS_OF_ERROR: Final = 2
MOST_XIDS_OF_ERROR: Final = 4

Open = Callable[[], Nvml]


@contextmanager
def watched_gpus(report: Report, opened: Open | None = None) -> Iterator[None]:
    """Note in the report what the app trains on, and what the GPUs measure until it is done.

    Without FL_GPU_ENABLED=YES nothing is measured or noted.
    """
    if app_gpus(os.environ) is None:
        yield
        return
    watch = GpuWatch(opened or _visible)
    try:
        yield
    finally:
        found = watch.end()
        report.device = short_name(used_device())
        report.gpus, report.failed_gpus = text_of(found), list(map(record_of, _with_errors(found)))


class GpuWatch:
    """A thread that samples the GPUs from now on; it opens NVML itself, which may take seconds.

    It must not be started before the fork of a warm executor: a process with threads does not fork.
    """

    def __init__(self, opened: Open) -> None:
        self._opened = opened
        self._stop = threading.Event()
        self._found: tuple[Reading, ...] = ()
        self._thread = threading.Thread(target=self._run, name="gpus", daemon=True)
        self._runs = self._started()

    def end(self) -> tuple[Reading, ...]:
        """End it, and return what was measured; nothing where the driver does not answer in time."""
        if not self._runs:
            return ()
        self._stop.set()
        self._thread.join(LONGEST_WAIT_S)
        if self._thread.is_alive():
            log.warning("the GPUs are not read: the driver has not answered for %.0f s", LONGEST_WAIT_S)
            return ()
        return self._found

    def _started(self) -> bool:
        """Start the thread; False where the system has none left: the app works without being watched."""
        try:
            self._thread.start()
        except (RuntimeError, MemoryError) as error:
            log.warning("the GPUs are not read: no thread for it reason=%s", error)
            return False
        return True

    def _run(self) -> None:
        with self._opened() as gpus:
            while gpus and not self._stop.wait(PERIOD_S):
                gpus.sample()
            gpus.sample()
            self._found = gpus.readings()


def _visible() -> Nvml:
    return Nvml(visible_devices(os.environ.get("CUDA_VISIBLE_DEVICES")))


def _with_errors(readings: Sequence[Reading]) -> list[Reading]:
    """Return the GPUs that have reported errors, and these alone: a reason has little room."""
    failed = [each for each in readings if each.xids][:MOST_GPUS_OF_ERROR]
    return [
        Reading(
            index=each.index,
            instance=each.instance,
            name=each.name,
            xids=dict(sorted(each.xids.items())[:MOST_XIDS_OF_ERROR]),
        )
        for each in failed
    ]
