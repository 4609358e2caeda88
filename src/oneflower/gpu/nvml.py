"""Read GPUs with NVIDIA's management library (NVML): the only module that imports ``pynvml``.

NVML opens no CUDA context. Where its package, its library or the driver is missing there are no readings, and
what one GPU cannot tell is None: nothing here raises an exception.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final, Self

from oneflower.gpu.readings import MOST_GPUS, MOST_XIDS, Reading, short_name

log = logging.getLogger(__name__)

MOST_DIGITS: Final = 9
"""Of a GPU's number: NVML takes 32 bits, and Python reads no number of 5,000 digits."""
MOST_EVENTS: Final = 64
"""Errors that are taken of one GPU at a time: a GPU that fails may report them without end."""


def visible_devices(text: str | None) -> tuple[str, ...] | None:
    """Return the devices that ``CUDA_VISIBLE_DEVICES`` names; None, where it is not set, for all."""
    return None if text is None else tuple(filter(None, map(str.strip, text.split(","))))


@dataclass(slots=True, kw_only=True)
class _Device:
    """One GPU that is read: its handle, that of the whole GPU if it is a MIG instance, what was measured."""

    handle: Any
    whole: Any
    index: int
    instance: int | None
    uuid: str
    name: str
    events: Any = None
    utilisation: list[float] = field(default_factory=list)
    power_w: list[float] = field(default_factory=list)
    temperature_c: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    ecc_errors: int | None = None
    xids: Counter[int] = field(default_factory=Counter)


class Nvml:
    """The selected GPUs of this machine, open for reading; `with` closes the library.

    Parameters
    ----------
    devices : sequence of str, optional
        Numbers in the order of the PCI bus, or UUIDs; None for all.
    library : module, optional
        In place of ``pynvml``.
    """

    def __init__(self, devices: Sequence[str] | None = None, *, library: Any = None) -> None:
        self._library = _opened(library)
        self._devices = [] if self._library is None else self._selected(devices)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __bool__(self) -> bool:
        return bool(self._devices)

    def sample(self) -> None:
        """Measure once."""
        for each in self._devices:
            try:
                self._sample(each)
            except Exception as error:  # noqa: BLE001 - as in `_ask`: of other numbers than NVML documents
                log.debug("a GPU is not measured gpu=%d reason=%s", each.index, error)

    def readings(self) -> tuple[Reading, ...]:
        """Return what the samples say: means of utilisation and power, the largest memory and temperature."""
        return tuple(map(_reading, self._devices))

    def close(self) -> None:
        """Close the library; nothing is measured afterwards."""
        if self._library is None:
            return
        for each in self._devices:
            if each.events is not None:
                self._ask("nvmlEventSetFree", each.events)
        self._ask("nvmlShutdown")
        self._library, self._devices = None, []

    def _selected(self, devices: Sequence[str] | None) -> list[_Device]:
        if devices is None:
            devices = [str(index) for index in range(self._ask("nvmlDeviceGetCount") or 0)]
        found = (self._device(name) for name in devices[:MOST_GPUS])
        return [each for each in found if each is not None]

    def _device(self, name: str) -> _Device | None:
        is_number = name.isdecimal() and len(name) <= MOST_DIGITS
        handle = (
            self._ask("nvmlDeviceGetHandleByIndex", int(name))
            if is_number
            else self._ask("nvmlDeviceGetHandleByUUID", name)
        )
        if handle is None:
            return None
        is_mig = bool(self._ask("nvmlDeviceIsMigDeviceHandle", handle))
        whole = self._ask("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", handle) if is_mig else handle
        index = self._ask("nvmlDeviceGetIndex", whole)
        if index is None:
            return None
        device = _Device(
            handle=handle,
            whole=whole,
            index=index,
            instance=self._ask("nvmlDeviceGetGpuInstanceId", handle) if is_mig else None,
            uuid=short_name(self._ask("nvmlDeviceGetUUID", handle)),
            name=short_name(self._ask("nvmlDeviceGetName", whole)),
        )
        device.events = self._events(whole)
        return device

    def _events(self, handle: Any) -> Any:
        """Return a set of its own, so that an event of a GPU that is lost can still be assigned to it."""
        library = self._library
        events = self._ask("nvmlEventSetCreate")
        if events is None:
            return None
        try:
            library.nvmlDeviceRegisterEvents(handle, library.nvmlEventTypeXidCriticalError, events)
        except Exception as error:  # noqa: BLE001 - as in `_ask`
            log.debug("XID errors are not reported reason=%s", error)
            self._ask("nvmlEventSetFree", events)
            return None
        return events

    def _sample(self, device: _Device) -> None:
        library, handle, whole = self._library, device.handle, device.whole
        rates = self._ask("nvmlDeviceGetUtilizationRates", handle)
        if rates is not None:
            device.utilisation.append(rates.gpu / 100)
        memory = self._ask("nvmlDeviceGetMemoryInfo", handle)
        if memory is not None:
            device.memory_used_bytes = max(memory.used, device.memory_used_bytes or 0)
            device.memory_total_bytes = memory.total
        degrees = self._ask("nvmlDeviceGetTemperature", whole, library.NVML_TEMPERATURE_GPU)
        if degrees is not None:
            device.temperature_c = max(float(degrees), device.temperature_c or 0.0)
        milliwatts = self._ask("nvmlDeviceGetPowerUsage", whole)
        if milliwatts is not None:
            device.power_w.append(milliwatts / 1000)
        errors = self._ask(
            "nvmlDeviceGetTotalEccErrors",
            whole,
            library.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
            library.NVML_VOLATILE_ECC,
        )
        device.ecc_errors = device.ecc_errors if errors is None else errors
        self._take_events(device)

    def _take_events(self, device: _Device) -> None:
        library = self._library
        for _ in range(MOST_EVENTS if device.events is not None else 0):
            event = self._ask("nvmlEventSetWait_v2", device.events, 0)
            if event is None:  # the time is over, or the GPU is lost
                return
            if event.eventType & library.nvmlEventTypeXidCriticalError:
                device.xids[int(event.eventData)] += 1

    def _ask(self, function: str, *values: Any) -> Any:
        """Call the library; None for what it does not answer; old drivers and cards lack functions."""
        try:
            return getattr(self._library, function)(*values)
        except Exception as error:  # noqa: BLE001 - a reading must never end a training
            log.debug("NVML does not answer %s reason=%s", function, error)
            return None


def _opened(library: Any) -> Any:
    try:
        found = import_module("pynvml") if library is None else library
        found.nvmlInit()
    except Exception as error:  # noqa: BLE001 - no package, no library, no driver: the same to a client
        log.debug("NVML cannot be used reason=%s", error)
        return None
    return found


def _reading(device: _Device) -> Reading:
    return Reading(
        index=device.index,
        instance=device.instance,
        uuid=device.uuid,
        name=device.name,
        utilisation=_mean(device.utilisation),
        memory_used_bytes=device.memory_used_bytes,
        memory_total_bytes=device.memory_total_bytes,
        temperature_c=device.temperature_c,
        power_w=_mean(device.power_w),
        ecc_errors=device.ecc_errors,
        xids=dict(device.xids.most_common(MOST_XIDS)),
    )


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None
