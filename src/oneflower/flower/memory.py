"""How processes take memory from Linux: models in large pieces, the rest without idle heaps."""

import ctypes
import mmap
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from oneflower.aggregation import NDArray

TUNABLES: Final = "GLIBC_TUNABLES"
HUGE_PAGES: Final = "glibc.malloc.hugetlb"
"""At 1, glibc from 2.35 on asks for pages of 2 MiB for all memory that it takes from Linux."""
HUGE_PAGE, LEAST_FOR_HUGE_PAGES = 1 << 21, 1 << 22
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8  # malloc.h
KEPT, TAKEN, LARGEST_IN_HEAP, RETURNED = 64 << 20, 48 << 20, 16 << 20, 1 << 20


def share_arenas() -> None:
    """Let glibc keep two heaps for all threads, not eight for each core: each holds what was freed there."""
    _set({M_ARENA_MAX: 2})


def keep_freed_memory(model_bytes: int) -> None:
    """Let glibc keep up to 64 MiB that were freed, for the next model: Linux writes zeros into fresh memory.

    Arrays above 16 MiB always come from Linux and go back to it. Small models are left to glibc's defaults.
    """
    if model_bytes >= LEAST_FOR_HUGE_PAGES:
        _set({M_MMAP_THRESHOLD: LARGEST_IN_HEAP, M_TRIM_THRESHOLD: KEPT, M_TOP_PAD: TAKEN})


def return_freed_memory(model_bytes: int) -> None:
    """Let glibc give blocks of 1 MiB and more back when they are freed: models are read, or streamed.

    Otherwise it keeps some of them, and more for each thread that has pulled a reply: 100 MB and more. By
    default glibc also keeps arrays below 32 MiB that are freed between others: two models after a resume.
    """
    if model_bytes >= LEAST_FOR_HUGE_PAGES:
        _set({M_MMAP_THRESHOLD: RETURNED, M_TRIM_THRESHOLD: RETURNED, M_TOP_PAD: 0})


def _set(options: Mapping[int, int]) -> None:
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            for option, value in options.items():
                ctypes.CDLL(None).mallopt(option, value)


def with_huge_pages(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that holds models; what it says of huge pages itself stays."""
    before = environ.get(TUNABLES, "")
    if HUGE_PAGES in before:
        return dict(environ)
    return {**environ, TUNABLES: ":".join(filter(None, (before, f"{HUGE_PAGES}=1")))}


def unwritten_bytes(size: int) -> bytes:
    """Return bytes whose values are yet to be set: `bytes(size)` would write zeros first."""
    make = ctypes.pythonapi.PyBytes_FromStringAndSize
    make.restype = ctypes.py_object
    made: bytes = make(None, ctypes.c_ssize_t(size))
    return made


def ask_for_huge_pages(values: NDArray) -> None:
    """Let Linux back memory that nobody has written yet by pages of 2 MiB, as NumPy does for its own arrays.

    Ten million fresh weights are 10,000 small pages, whose first writes cost more than the weights' mean.
    Where the kernel does not offer such pages, nothing changes. The neighbours' memory up to the next border
    of such a page is asked for too: it may be the model's next array.
    """
    if sys.platform != "linux" or values.nbytes < LEAST_FOR_HUGE_PAGES:
        return
    start = values.__array_interface__["data"][0]
    first = start // HUGE_PAGE * HUGE_PAGE
    length = -(-(start + values.nbytes) // HUGE_PAGE) * HUGE_PAGE - first
    ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), mmap.MADV_HUGEPAGE)
