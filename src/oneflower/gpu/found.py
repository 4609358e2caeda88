"""What was found of a machine's GPUs, and the first layer that does not work."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

GIB: Final = 1 << 30
HEX: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
UUID: Final = rf"GPU-{HEX}|MIG-{HEX}|MIG-GPU-{HEX}/[0-9]{{1,2}}/[0-9]{{1,2}}"
"""How `nvidia-smi -L` names a GPU or a MIG device; the last form is that before driver 470."""
_UUID = re.compile(UUID)


def is_uuid(text: object) -> bool:
    """Whether this is a UUID of a GPU or of a MIG device, and nothing else."""
    return isinstance(text, str) and _UUID.fullmatch(text) is not None


class Layer(StrEnum):
    """What must work, one after the other, before an app can use a GPU."""

    PCI = "pci"
    DRIVER = "driver"
    CONTAINER = "container"
    FRAMEWORK = "framework"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU, or one MIG device, as the driver lists it.

    Attributes
    ----------
    index
        Its number in the order of the PCI bus; of a MIG device that of its GPU.
    memory_bytes
        All of its memory.
    """

    index: int
    uuid: str
    name: str
    memory_bytes: int

    @property
    def is_mig(self) -> bool:
        """Whether it is a part of a GPU."""
        return self.uuid.startswith("MIG-")

    @property
    def text(self) -> str:
        """Name and memory, for people."""
        return f"{self.name}, {self.memory_bytes / GIB:.0f} GiB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Why a layer does not work, and how to mend it."""

    layer: Layer
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The GPUs that ClientApps can use, or the layer that fails, why, and how to mend it.

    Attributes
    ----------
    seen
        What was seen of each layer that works, in order.
    arguments
        What gives the GPUs to a container, as arguments of ``docker run``; empty unless every layer works.
    """

    gpus: tuple[Gpu, ...] = ()
    failed: Layer | None = None
    reason: str = ""
    remedy: str = ""
    seen: tuple[tuple[Layer, str], ...] = ()
    arguments: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether every layer works."""
        return self.failed is None and bool(self.gpus)

    @property
    def text(self) -> str:
        """The GPUs with their memory, or the layer that fails and why."""
        if self.failed is not None:
            return f"{self.failed} failed: {self.reason}"
        return "; ".join(gpu.text for gpu in self.gpus)
