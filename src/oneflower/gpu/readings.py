"""What a GPU measured, and how that stands in JSON: a client sends it, the journal holds it.

A client is not believed: what is no number of its field's range is left out, and the rest is kept.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from oneflower.bounded_json import Bounds, parse_json
from oneflower.foreign_text import printable

PROCESSOR: Final = "cpu"
"""The device of an app that trains without a GPU."""
MOST_GPUS: Final = 16
MOST_XIDS: Final = 16
"""Kinds of XID errors that are kept of one GPU."""
LONGEST_NAME: Final = 64

_MOST_INDEX: Final = 1024
_MOST_BYTES: Final = 2**50
_MOST_C: Final = 1000.0
_MOST_W: Final = 100_000.0
_MOST_ERRORS: Final = 2**53
_MOST_XID: Final = 2**16
_MOST_TIMES: Final = 1_000_000
_BOUNDS: Final = Bounds(most_bytes=16_384, most_values=1_024, most_depth=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one GPU, or one MIG instance of it, measured during a message; None is what it cannot tell.

    Attributes
    ----------
    index, instance
        Its number in the order of the PCI bus, and that of the MIG instance.
    utilisation
        Share of the time in which it worked, from 0 to 1.
    ecc_errors
        Uncorrected errors of its memory since the driver was loaded.
    xids
        By number: how often the driver reported this XID error during the message.
    """

    index: int
    instance: int | None = None
    uuid: str = ""
    name: str = ""
    utilisation: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    ecc_errors: int | None = None
    xids: Mapping[int, int] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Which of its machine's GPUs it is: ``0``, or ``0:7`` for MIG instance 7."""
        return str(self.index) if self.instance is None else f"{self.index}:{self.instance}"


def record_of(reading: Reading) -> dict[str, Any]:
    """Return a reading as a JSON object, without what is not known."""
    values = {name: getattr(reading, name) for name in Reading.__dataclass_fields__ if name != "xids"}
    found = {name: value for name, value in values.items() if value is not None and value != ""}
    if reading.xids:
        found["xids"] = {str(number): times for number, times in sorted(reading.xids.items())}
    return found


def text_of(readings: Sequence[Reading]) -> str:
    """Return readings as the text that a client sends; empty for none."""
    listed = [record_of(each) for each in readings[:MOST_GPUS]]
    return json.dumps(listed, separators=(",", ":"), allow_nan=False) if listed else ""


def readings_of(value: object) -> tuple[Reading, ...]:
    """Return what is valid of a client's readings, each GPU once; it may be the text or its parsed list."""
    if isinstance(value, str):
        try:
            value = parse_json(value, _BOUNDS)
        except ValueError:
            return ()
    if not isinstance(value, list | tuple):
        return ()
    checked = (checked_reading(each) for each in value[:MOST_GPUS])
    return tuple({each.place: each for each in checked if each is not None}.values())


def checked_reading(values: object) -> Reading | None:
    """Return what is valid of one reading; None for what does not say which GPU it is."""
    if not isinstance(values, Mapping):
        return None
    index = _whole(values.get("index"), _MOST_INDEX)
    if index is None:
        return None
    return Reading(
        index=index,
        instance=_whole(values.get("instance"), _MOST_INDEX),
        uuid=short_name(values.get("uuid")),
        name=short_name(values.get("name")),
        utilisation=_number(values.get("utilisation"), 1.0),
        memory_used_bytes=_whole(values.get("memory_used_bytes"), _MOST_BYTES),
        memory_total_bytes=_whole(values.get("memory_total_bytes"), _MOST_BYTES),
        temperature_c=_number(values.get("temperature_c"), _MOST_C),
        power_w=_number(values.get("power_w"), _MOST_W),
        ecc_errors=_whole(values.get("ecc_errors"), _MOST_ERRORS),
        xids=_xids(values.get("xids")),
    )


def short_name(value: object) -> str:
    """Return a name of a device, cut at 64 characters; empty for what is no printable text."""
    if not isinstance(value, str):
        return ""
    short = value[:LONGEST_NAME]
    return short if printable(short) == short else ""


def _whole(value: object, most: int) -> int | None:
    return value if type(value) is int and 0 <= value <= most else None


def _number(value: object, most: float) -> float | None:
    """Return a number from 0 to `most`; NaN is in no range."""
    return float(value) if type(value) in (int, float) and 0 <= value <= most else None  # type: ignore[arg-type, operator]


def _xids(value: object) -> dict[int, int]:
    """Return XID errors by number; those beyond the first 16 kinds are not kept."""
    found: dict[int, int] = {}
    for key, count in value.items() if isinstance(value, Mapping) else ():
        number = (
            int(key) if isinstance(key, str) and key.isdecimal() and len(key) <= 5 and key.isascii() else -1
        )
        times = _whole(count, _MOST_TIMES)
        if 0 < number < _MOST_XID and times and len(found) < MOST_XIDS:
            found[number] = times
    return found
