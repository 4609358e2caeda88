"""Which GPUs a machine's ClientApps may use: the format of FL_CUDA_VISIBLE_DEVICES."""

import re
from typing import Final

from oneflower.settings.formats import TextFormat, printable

ALL_DEVICES: Final = "all"
MOST_DEVICES: Final = 64
_NUMBER = re.compile(r"[0-9]{1,3}")
_HEX = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# The CUDA programming guide's CUDA_VISIBLE_DEVICES; MIG-GPU-UUID/GI/CI is the form before driver 470.
_UUID = re.compile(rf"GPU-{_HEX}|MIG-{_HEX}|MIG-GPU-{_HEX}/[0-9]{{1,2}}/[0-9]{{1,2}}", re.IGNORECASE)


def device_list(text: str) -> tuple[str, ...]:
    """Return the devices of a checked value; empty for all."""
    return () if text == ALL_DEVICES else tuple(text.split(","))


def _cuda_devices(text: str) -> str:
    """Return the value as CUDA reads it: no blanks, numbers without leading zeros, UUIDs in lower case.

    CUDA itself drops what stands after the first device that it does not know, without a word.
    """
    if printable(text).lower() == ALL_DEVICES:
        return ALL_DEVICES
    names = [_device(part.strip()) for part in text.split(",")]
    if len(names) > MOST_DEVICES:
        raise ValueError(f"it names {len(names)} devices; at most {MOST_DEVICES} are allowed")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"it names {twice} twice")
    if len({bool(_NUMBER.fullmatch(name)) for name in names}) > 1:
        raise ValueError("it mixes numbers and UUIDs")
    if len(names) > 1 and any(name.startswith("MIG-") for name in names):
        raise ValueError("it names a MIG device and others; CUDA uses one MIG device in a process")
    return ",".join(names)


def _device(text: str) -> str:
    if _NUMBER.fullmatch(text):
        return str(int(text))
    if _UUID.fullmatch(text):
        prefix = re.match(r"(MIG-GPU-|MIG-|GPU-)", text.upper())
        start = prefix[0] if prefix else ""
        return start + text[len(start) :].lower()
    if not text:
        raise ValueError("a device is empty")
    raise ValueError(f"{text[:60]!r} is neither a number nor a UUID that starts with GPU- or MIG-")


CUDA_DEVICES = TextFormat(
    expected="all, or numbers of GPUs or UUIDs from nvidia-smi -L, separated by commas",
    example="0,1",
    parse=_cuda_devices,
)
