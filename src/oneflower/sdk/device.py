"""The device of a PyTorch app: one of the GPUs that its SuperNode gives it, else the processor."""

import mmap
import os
from enum import IntEnum
from logging import WARNING
from typing import Any, Final

import torch

from oneflower.errors import GpuError
from oneflower.flower.api import log
from oneflower.flower.app_gpus import VISIBLE, AppGpus, app_gpus
from oneflower.flower.calls.current_client import client_number, is_client
from oneflower.flower.calls.seeds import choose_deterministic_algorithms
from oneflower.flower.calls.used_device import note_device
from oneflower.gpu.unusable import Unusable, why_unusable

__all__ = ["BF16", "FLOAT32", "PROCESSOR", "device", "dtype_of"]

PROCESSOR: Final = torch.device("cpu")
FLOAT32: Final = "float32"
BF16: Final = "bf16"
_OUTSIDE: Final = (
    "device() was called outside of a message, where the processor is used: call it in the functions of the "
    "ClientApp. At import it would start CUDA in a process that is forked"
)


class _Told(IntEnum):
    """The warnings that are logged once, by their place in the memory that forked processes share."""

    OUTSIDE = 0
    NO_GPU = 1
    NO_BF16 = 2


# The warm executor forks a child for each message: what one has logged, the next ones know from here.
_told: Final = mmap.mmap(-1, len(_Told))


def device() -> torch.device:
    """Return the device that the client of this message trains on; call it once in each of its functions.

    With FL_GPU_ENABLED=NO, and in a ServerApp, it is the processor. With several GPUs each client has the one
    of its partition, index modulo their number. The first call limits the memory that PyTorch may reserve
    (FL_GPU_MEMORY_FRACTION) and chooses deterministic algorithms without TF32; an app that wants others
    changes that afterwards.

    Raises
    ------
    GpuError
        FL_GPU_REQUIRED=YES, and no GPU can be used.
    """
    asked = app_gpus(os.environ)
    if asked is None or not is_client():
        if asked is not None:
            _warn(_Told.OUTSIDE, _OUTSIDE)
        note_device(PROCESSOR.type)
        return PROCESSOR
    try:
        count = _usable()
    except RuntimeError as error:  # the driver is too old, or the GPU fails
        return _without_gpu(asked, _why(asked, str(error)))
    if not count:
        return _without_gpu(asked, _why(asked))
    chosen = torch.device("cuda", client_number() % count)
    _prepare(chosen, asked)
    note_device(torch.cuda.get_device_name(chosen))
    return chosen


def dtype_of(precision: str, on: torch.device) -> torch.dtype:
    """Return the type of frozen weights and of computations with them: float32, or bfloat16 for ``bf16``.

    A device that is slow or wrong in bfloat16 (any processor, a GPU older than Ampere) gets float32, and a
    warning once: the arrays that a client sends are float32 either way.
    """
    if precision != BF16:
        return torch.float32
    if on.type == "cuda" and torch.cuda.get_device_capability(on) >= (8, 0):
        return torch.bfloat16
    name = torch.cuda.get_device_name(on) if on.type == "cuda" else "a processor"
    _warn(
        _Told.NO_BF16,
        f"precision bf16 needs a GPU of Ampere or later: float32 is used on {name}",
    )
    return torch.float32


def _usable() -> int:
    """Return how many of the visible GPUs PyTorch can use; RuntimeError where CUDA does not start."""
    if not torch.cuda.is_available():
        return 0
    cuda: Any = torch.cuda
    cuda.init()  # what fails here says why; is_available() asks without starting CUDA
    return int(cuda.device_count())


def _prepare(chosen: torch.device, asked: AppGpus) -> None:
    torch.cuda.set_device(chosen)  # what the app puts on "cuda" is there, too
    torch.cuda.set_per_process_memory_fraction(asked.fraction, chosen)
    if not torch.are_deterministic_algorithms_enabled():
        choose_deterministic_algorithms(torch, "warn")
    backends: Any = torch.backends
    backends.cudnn.deterministic, backends.cudnn.benchmark = True, False
    backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = False


def _without_gpu(asked: AppGpus, why: Unusable) -> torch.device:
    """Return the processor, with a warning; GpuError where a GPU is required."""
    if asked.required:
        raise GpuError(f"FL_GPU_REQUIRED=YES, and no GPU can be used: {why.reason}. To mend it: {why.remedy}")
    said = f"FL_GPU_ENABLED=YES, and the processor trains: {why.reason}. To mend it: {why.remedy}"
    _warn(_Told.NO_GPU, said)
    note_device(PROCESSOR.type)
    return PROCESSOR


def _why(asked: AppGpus, error: str = "") -> Unusable:
    visible = os.environ.get(VISIBLE)
    said = error or (f"CUDA_VISIBLE_DEVICES is {visible!r}" if visible else "")
    return why_unusable(torch=str(torch.__version__), cuda=torch.version.cuda, error=said, on_vm=asked.on_vm)


def _warn(which: _Told, text: str) -> None:
    """Log a warning, once for all processes that were forked from this one."""
    if not _told[which]:
        _told[which] = 1
        log(WARNING, text)
