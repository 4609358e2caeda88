"""CUDA out of memory in an app: the numbers and the remedy in one sentence, and the memory given back.

The error is recognised by the name of its class and by its text: this module imports no framework.
"""

import gc
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from oneflower.errors import AppError
from oneflower.foreign_text import cut

_CLASS: Final = "OutOfMemoryError"
_PACKAGES: Final = frozenset({"torch", "cupy"})
# Memory that PyTorch takes outside of its allocator: kernels, cuBLAS's and cuDNN's workspaces.
_TEXT: Final = re.compile(
    r"CUDA (?:driver )?error: (?:out of memory|CUBLAS_STATUS_ALLOC_FAILED)|CUDA out of memory"
)
_MOST_CAUSES: Final = 8
_LONGEST: Final = 2_000
_SIZE: Final = r"([0-9]{1,12}(?:\.[0-9]{1,6})? (?:bytes|[KMGT]iB))"
_NEEDED: Final = re.compile(rf"Tried to allocate {_SIZE}")
_TOTAL: Final = re.compile(rf"total capacity of {_SIZE}")
_FREE: Final = re.compile(rf"of which {_SIZE} is free")
_ALLOWED: Final = re.compile(rf"{_SIZE} allowed")
_RESERVED: Final = re.compile(rf"this process has {_SIZE} memory in use")
_GIB: Final = 1 << 30

REMEDY: Final = (
    "Lower batch-size (or the app's key for it), set a larger FL_GPU_MEMORY_FRACTION on this SuperNode if "
    "the GPU has memory left, or let fewer SuperNodes share this GPU"
)


class GpuMemoryError(AppError):
    """The app needs more memory of its GPU than it may have, or than is left."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception, or what caused it, says that the memory of a GPU does not suffice."""
    return any(_says_so(each) for each in _causes(error))


def out_of_memory(error: BaseException) -> GpuMemoryError:
    """Return the error to reply with; call it before anything is freed."""
    first = next(each for each in _causes(error) if _says_so(each))
    text = _text(first)
    free, total = _free_and_total()
    said = [
        ("needed at once", _found(_NEEDED, text)),
        ("used by this client", _found(_RESERVED, text)),
        ("allowed by FL_GPU_MEMORY_FRACTION", _found(_ALLOWED, text)),
        ("free on the GPU", _found(_FREE, text) or free),
        ("in all", _found(_TOTAL, text) or total),
    ]
    numbers = ", ".join(f"{number} {what}" for what, number in said if number)
    said_then = "" if first is error else f". The app then raised {type(error).__name__}: {_text(error)}"
    return GpuMemoryError(f"CUDA out of memory ({numbers or 'CUDA gives no numbers'}). {REMEDY}{said_then}")


def give_back(error: BaseException) -> None:
    """Free what the frames of an exception hold, and give PyTorch's unused blocks back to the GPU."""
    for each in _causes(error):
        traceback.clear_frames(each.__traceback__)
    gc.collect()
    cuda = _cuda()
    if cuda is not None:
        with suppress(Exception):  # after some errors of CUDA nothing works in this process
            cuda.empty_cache()


def _says_so(error: BaseException) -> bool:
    classes = ((each.__name__, str(each.__module__).partition(".")[0]) for each in type(error).__mro__)
    if any(name == _CLASS and package in _PACKAGES for name, package in classes):
        return True
    return isinstance(error, RuntimeError) and _TEXT.match(_text(error)) is not None


def _text(error: BaseException) -> str:
    """Return its text; an exception of the app may have none."""
    try:
        return cut(str(error), _LONGEST)
    except Exception:  # noqa: BLE001 - the app's own class raises anything
        return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, what it was raised from, and so on; not what was handled before (`from None`).

    The attributes are those of BaseException, whatever a class of the app makes of them.
    """
    each: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if each is None:
            return
        yield each
        cause = BaseException.__dict__["__cause__"].__get__(each)
        hidden = BaseException.__dict__["__suppress_context__"].__get__(each)
        each = cause or (None if hidden else BaseException.__dict__["__context__"].__get__(each))


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1] if match else ""


def _free_and_total() -> tuple[str, str]:
    cuda = _cuda()
    if cuda is None:
        return "", ""
    try:
        free, total = cuda.mem_get_info()
    except Exception:  # noqa: BLE001 - after some errors of CUDA nothing works in this process
        return "", ""
    return f"{free / _GIB:.2f} GiB", f"{total / _GIB:.2f} GiB"


def _cuda() -> Any:
    """Return `torch.cuda` where this process uses it, without importing or starting it; else None."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None
