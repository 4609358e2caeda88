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
UNKNOWN: Final = f"a fork of the app's process cannot tell whether CUDA has started: {_FIX}"
_DESCRIPTORS: Final = Path("/proc/self/fd")
# cuInit opens the first, by whatever path a container has it; NVML, which only watches and survives a fork,
# does not. Under Windows (WSL) there is the second alone, for both.
_DEVICES: Final = frozenset({"nvidia-uvm", "dxg"})


def uses_cuda(descriptors: Path = _DESCRIPTORS) -> str:
    """Say how this process has started CUDA; empty where it has not."""
    if _says("is_initialized"):
        return INITIALISED
    return "" if _DEVICES.isdisjoint(_targets(descriptors)) else OPENED


def is_poisoned() -> bool:
    """Return, in a forked child, whether PyTorch says that its parent has started CUDA's driver."""
    return _says("_is_in_bad_fork")


def _says(name: str) -> bool:
    """Ask PyTorch; another package of its name, or a stub, says nothing."""
    asked = getattr(getattr(sys.modules.get("torch"), "cuda", None), name, None)
    return callable(asked) and bool(asked())


def _targets(descriptors: Path) -> set[str]:
    """Return the names of what is open, without their folders."""
    found = set()
    for each in descriptors.iterdir():
        with suppress(OSError):  # that of the listing itself is closed by now
            found.add(each.readlink().name.removesuffix(" (deleted)"))
    return found
