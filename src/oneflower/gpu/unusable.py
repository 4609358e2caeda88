"""Why PyTorch uses no GPU of this machine, and how to mend it: one sentence for each cause."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from oneflower.foreign_text import shown
from oneflower.gpu.pci import PCI_DEVICES, is_there, pci_gpus

_WSL: Final = Path("dev/dxg")
"""There Windows gives the GPU to Linux: nothing of NVIDIA's is on the bus."""
_LONGEST: Final = 200

ON_VM: Final = "run `oneflower appliance doctor` on the VM: it names the layer that fails and how to mend it"
NO_GPU: Final = "use a machine with an NVIDIA GPU, or set FL_GPU_ENABLED=NO"
OTHER_BUILD: Final = (
    "install the CUDA build: pip install --force-reinstall torch --index-url "
    "https://download.pytorch.org/whl/cu130 (or the one for your driver: https://pytorch.org/get-started)"
)
NO_DRIVER: Final = (
    "run nvidia-smi: if it fails, install NVIDIA's driver; if it works, the driver is older than this "
    "PyTorch needs: update it or install another build of PyTorch"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """A reason, and its remedy."""

    reason: str
    remedy: str

    def __str__(self) -> str:
        """Return both as one sentence."""
        return f"{self.reason}: {self.remedy}"


def why_unusable(
    *, torch: str, cuda: str | None, error: str = "", on_vm: bool = False, root: Path = Path("/")
) -> Unusable:
    """Say why PyTorch finds no GPU.

    Parameters
    ----------
    torch, cuda
        The version of PyTorch, and the version of CUDA that it was built with.
    error
        What CUDA said; empty where it says nothing.
    on_vm
        This is the container of an appliance, where the machine itself cannot be seen.
    """
    build = f"this PyTorch ({shown(torch, _LONGEST)}) was built without CUDA"
    if on_vm:
        return Unusable(reason=build if cuda is None else _refused(error), remedy=ON_VM)
    if not has_gpu(root):
        return Unusable(reason="this machine has no NVIDIA GPU", remedy=NO_GPU)
    if cuda is None:
        return Unusable(reason=build, remedy=OTHER_BUILD)
    return Unusable(reason=_refused(error), remedy=NO_DRIVER)


def _refused(error: str) -> str:
    return f"CUDA cannot be used ({shown(error, _LONGEST)})" if error else "CUDA finds no GPU"


def has_gpu(root: Path = Path("/")) -> bool:
    """Return whether an NVIDIA GPU is on the PCI bus, or its driver is loaded where the bus is not shown."""
    if is_there(root / _WSL):
        return True
    hidden = not is_there(root / PCI_DEVICES)
    return bool(pci_gpus(root)) or (hidden and is_there(root / "proc/driver/nvidia"))
