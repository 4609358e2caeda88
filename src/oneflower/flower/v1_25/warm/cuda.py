"""Whether a process has started CUDA: its forked children could then never use a GPU.

Nothing here starts it: PyTorch is asked only where the app has imported it, and for what it remembers.
"""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

_FIX: Final = "call oneflower.sdk.device.device() in its functions, and nothing of torch.cuda beside them"
INITIALISED: Final = f"the app initialises CUDA when it is imported: {_FIX}"
ASKED: Final = f"the app asks CUDA for its GPUs when it is imported, which starts the driver: {_FIX}"
OPENED: Final = f"the app starts the CUDA driver when it is imported: {_FIX}"
_DESCRIPTORS: Final = Path("/proc/self/fd")
# cuInit opens it. NVML, which only watches and survives a fork, does not.
_MEMORY_DEVICE: Final = "/dev/nvidia-uvm"


def uses_cuda(descriptors: Path = _DESCRIPTORS) -> str:
    """Say how this process has started CUDA; empty where it has not."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return INITIALISED
    return OPENED if _MEMORY_DEVICE in _targets(descriptors) else ""


def is_poisoned() -> bool:
    """Return, in a forked child, whether PyTorch says that its parent has started CUDA's driver."""
    torch = sys.modules.get("torch")
    asked = getattr(getattr(torch, "cuda", None), "_is_in_bad_fork", None)
    return asked is not None and bool(asked())


def _targets(descriptors: Path) -> set[str]:
    found = set()
    for each in descriptors.iterdir():
        with suppress(OSError):  # that of the listing itself is closed by now
            found.add(str(each.readlink()))
    return found
