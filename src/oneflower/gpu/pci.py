"""The first layer: the NVIDIA GPUs on the machine's PCI bus, and what drives them."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from oneflower.gpu.found import Failed, Layer

PCI_DEVICES: Final = "sys/bus/pci/devices"
_NVIDIA: Final = "0x10de"
_DISPLAY: Final = "0x03"  # 0x0300 a VGA controller, 0x0302 a 3D controller
_MOST_DEVICES: Final = 1024
_MOST_BYTES: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class PciGpu:
    """A display controller of NVIDIA: its address, its device id, and the kernel driver that is bound."""

    address: str
    device: str
    driver: str


def pci_gpus(root: Path) -> tuple[PciGpu, ...]:
    """Return the NVIDIA GPUs on the PCI bus, by address; what cannot be read is not there."""
    try:
        folders = sorted((root / PCI_DEVICES).iterdir())[:_MOST_DEVICES]
    except OSError:
        return ()
    return tuple(_gpu(folder) for folder in folders if _is_gpu(folder))


def check_pci(root: Path) -> tuple[PciGpu, ...] | Failed:
    """Return the GPUs on the PCI bus."""
    return pci_gpus(root) or Failed(
        layer=Layer.PCI,
        reason=f"no NVIDIA GPU is on the PCI bus of this VM (vendor 10de, class 03xx below /{PCI_DEVICES})",
        remedy="add PCI=[...] with the GPU to the VM template and create the VM again: docs/gpu.md; "
        "`lspci -nn -d 10de:` in the VM then lists it",
    )


def first_bytes(path: Path, most: int) -> bytes:
    """Read the beginning of a regular file; OSError for anything else, as a named pipe would block."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(descriptor)


def is_there(path: Path) -> bool:
    """Return whether a path leads to something that this process can see."""
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True


def _is_gpu(folder: Path) -> bool:
    return _word(folder / "vendor") == _NVIDIA and _word(folder / "class").startswith(_DISPLAY)


def _gpu(folder: Path) -> PciGpu:
    try:
        driver = (folder / "driver").readlink().name
    except OSError:
        driver = ""
    return PciGpu(address=folder.name, device=_word(folder / "device").removeprefix("0x"), driver=driver)


def _word(path: Path) -> str:
    try:
        return first_bytes(path, _MOST_BYTES).decode("ascii", errors="replace").strip().lower()
    except (OSError, ValueError):
        return ""
