"""Look before round 1 whether the GPUs that FL_GPU_ENABLED asks for can be used on this machine."""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from oneflower.errors import GpuError
from oneflower.flower.app_gpus import VISIBLE, gpu_environment
from oneflower.foreign_text import shown
from oneflower.gpu.seen_by_torch import Seen, seen_by_torch
from oneflower.gpu.unusable import NO_DRIVER, NO_GPU, Unusable, has_gpu, why_unusable
from oneflower.settings import Settings
from oneflower.settings.cuda_devices import device_list
from oneflower.words import counted

Look = Callable[[Mapping[str, str]], Seen]
HOW_TO_CHOOSE: Final = (
    "correct FL_CUDA_VISIBLE_DEVICES (nvidia-smi -L lists the GPUs), or leave it out for all"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuCheck:
    """What a check needs of the machine; `look` asks PyTorch in a process that ends at once."""

    look: Look = seen_by_torch
    has_torch: Callable[[], bool] = lambda: importlib.util.find_spec("torch") is not None
    has_gpu: Callable[[], bool] = has_gpu


def check_gpus(settings: Settings, environ: Mapping[str, str], check: GpuCheck | None = None) -> str:
    """Return a warning where ClientApps would train without the GPUs that were asked for; else an empty text.

    Nothing is looked at with FL_GPU_ENABLED=NO.

    Raises
    ------
    GpuError
        The same with FL_GPU_REQUIRED=YES: nothing is started.
    """
    if not settings.gpu_enabled:
        return ""
    found = _unusable(settings, environ, check or GpuCheck())
    if found is None:
        return ""
    if settings.gpu_required:
        raise GpuError(
            f"FL_GPU_REQUIRED=YES and {found.reason}; nothing was started. To mend it: {found.remedy}"
        )
    return f"FL_GPU_ENABLED=YES and {found.reason}. To mend it: {found.remedy}"


def _unusable(settings: Settings, environ: Mapping[str, str], check: GpuCheck) -> Unusable | None:
    if not check.has_torch():
        return _without_torch(check)
    child = {**environ, **gpu_environment(settings, environ)}
    wanted = device_list(settings.cuda_visible_devices)
    seen = check.look(child)
    if len(seen.names) >= (len(wanted) or 1):
        return None
    if wanted and seen.cuda is not None:
        everything = check.look({name: value for name, value in child.items() if name != VISIBLE})
        if everything.names:
            return _not_there(wanted, seen, everything)
    if not seen.torch:
        said = shown(seen.error, 300) or "PyTorch does not answer"
        return Unusable(reason=f"processors train: {said}", remedy=NO_DRIVER)
    given = environ.get(VISIBLE)
    error = seen.error or (
        f"{VISIBLE} is {given!r} in this environment" if given is not None and not wanted else ""
    )
    why = why_unusable(torch=seen.torch, cuda=seen.cuda, error=error)
    return Unusable(reason=f"processors train: {why.reason}", remedy=why.remedy)


def _without_torch(check: GpuCheck) -> Unusable | None:
    """Look at the bus alone: another framework finds its GPUs itself."""
    if check.has_gpu():
        return None
    return Unusable(reason="processors train: this machine has no NVIDIA GPU", remedy=NO_GPU)


def _not_there(wanted: tuple[str, ...], seen: Seen, everything: Seen) -> Unusable:
    """Name the first device that does not exist: CUDA drops it and all that stand after it."""
    there = counted(len(everything.names), "GPU")
    last = len(everything.names) - 1
    numbers = "0" if last == 0 else f"0 to {last}"
    used = f"{counted(len(seen.names), 'GPU')} of the list are used" if seen.names else "processors train"
    return Unusable(
        reason=f"FL_CUDA_VISIBLE_DEVICES={','.join(wanted)} names {wanted[len(seen.names)]}, which is not there "
        f"(this machine has {there}, number {numbers}): {used}",
        remedy=HOW_TO_CHOOSE,
    )
