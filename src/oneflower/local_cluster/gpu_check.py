"""Look before round 1 whether the GPUs that FL_GPU_ENABLED asks for can be used on this machine."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from oneflower.errors import GpuError
from oneflower.flower.app_gpus import VISIBLE, gpu_environment
from oneflower.foreign_text import shown
from oneflower.gpu.programs import TORCH_GPUS
from oneflower.gpu.seen_by_torch import Seen, seen_by_torch
from oneflower.gpu.unusable import NO_GPU, Unusable, has_gpu, why_unusable
from oneflower.settings import Settings
from oneflower.settings.cuda_devices import device_list
from oneflower.words import counted

Look = Callable[[Mapping[str, str]], Seen]
HOW_TO_CHOOSE: Final = "correct FL_CUDA_VISIBLE_DEVICES (nvidia-smi -L lists the GPUs), or leave it out"
HOW_TO_ASK: Final = f"run `python -m {TORCH_GPUS}`, which prints what PyTorch says"
_LONGEST: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuCheck:
    """What a check needs of the machine; `look` asks PyTorch in a process that ends at once."""

    look: Look = seen_by_torch
    has_torch: Callable[[], bool] = lambda: importlib.util.find_spec("torch") is not None
    has_gpu: Callable[[], bool] = has_gpu


def check_gpus(settings: Settings, environ: Mapping[str, str], check: GpuCheck | None = None) -> str:
    """Return a warning where ClientApps lack GPUs that were asked for; else an empty text.

    Nothing is looked at with FL_GPU_ENABLED=NO.

    Raises
    ------
    GpuError
        The same with FL_GPU_REQUIRED=YES: nothing is started.
    """
    if not settings.gpu_enabled:
        return ""
    used, why = _looked(settings, environ, check or GpuCheck())
    if why is None:
        return ""
    mend = f"To mend it: {why.remedy}"
    if settings.gpu_required:
        lack = "only some of the GPUs" if used else "no GPU"
        raise GpuError(f"FL_GPU_REQUIRED=YES, and {lack} can be used: {why.reason}. {mend}")
    train = f"only {counted(used, 'GPU')} can be used" if used else "processors train"
    return f"FL_GPU_ENABLED=YES, and {train}: {why.reason}. {mend}"


def _looked(settings: Settings, environ: Mapping[str, str], check: GpuCheck) -> tuple[int, Unusable | None]:
    """Return how many GPUs can be used, and why not all of them."""
    if not check.has_torch():  # another framework finds its GPUs itself: the bus has to do
        nothing = Unusable(reason="this machine has no NVIDIA GPU", remedy=NO_GPU)
        return 0, None if check.has_gpu() else nothing
    child = {**environ, **gpu_environment(settings, environ)}
    wanted = device_list(settings.cuda_visible_devices)
    seen = check.look(child)
    used = len(seen.names)
    if used >= (len(wanted) or 1):
        return used, None
    if wanted and seen.cuda is not None:
        everything = check.look({name: value for name, value in child.items() if name != VISIBLE})
        if everything.names:
            return used, _not_there(wanted, used, len(everything.names))
    if not seen.torch:
        said = shown(seen.error, _LONGEST) or "PyTorch does not answer"
        return 0, Unusable(reason=said, remedy=HOW_TO_ASK)
    return 0, why_unusable(torch=seen.torch, cuda=seen.cuda, error=seen.error or _hidden(environ, wanted))


def _hidden(environ: Mapping[str, str], wanted: Sequence[str]) -> str:
    """Say that the operator's own environment hides GPUs."""
    given = environ.get(VISIBLE)
    return "" if wanted or given is None else f"{VISIBLE} is {given!r} in this environment"


def _not_there(wanted: Sequence[str], used: int, count: int) -> Unusable:
    """Name the first device that does not exist: CUDA drops it and all that stand after it."""
    numbers = "number 0" if count == 1 else f"numbers 0 to {count - 1}"
    return Unusable(
        reason=f"FL_CUDA_VISIBLE_DEVICES={','.join(wanted)} names {wanted[used]}, which is not there (this "
        f"machine has {counted(count, 'GPU')}, {numbers})",
        remedy=HOW_TO_CHOOSE,
    )
