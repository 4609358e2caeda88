"""What was found of a machine's GPUs, and the first layer that does not work."""

from dataclasses import dataclass
from enum import StrEnum


class Layer(StrEnum):
    """What must work, one after the other, before an app can use a GPU."""

    PCI = "pci"
    DRIVER = "driver"
    CONTAINER = "container"
    FRAMEWORK = "framework"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU as the driver lists it.

    Attributes
    ----------
    index
        Its number in the order of the PCI bus.
    memory_bytes
        All of its memory.
    """

    index: int
    uuid: str
    name: str
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The GPUs that ClientApps can use, or the layer that fails, why, and how to mend it."""

    gpus: tuple[Gpu, ...] = ()
    failed: Layer | None = None
    reason: str = ""
    remedy: str = ""

    @property
    def usable(self) -> bool:
        """Whether every layer works."""
        return self.failed is None and bool(self.gpus)
