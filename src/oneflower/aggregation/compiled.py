"""Whether the compiled kernel is used: it is there, of this source, and gives NumPy's bytes here."""

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from oneflower.aggregation.kernel import Kernel

HERE = Path(__file__).parent
SOURCES, LIBRARY = (HERE / "kernel.c", HERE / "kernel_products.h"), HERE / "libkernel.so"
VARIABLE = "ONEFLOWER_KERNEL"
"""For developers: NO leaves everything to NumPy."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Choice:
    """The kernel, or None and why NumPy does its work. `remark` is said of what should not be so."""

    kernel: Kernel | None
    reason: str = ""
    remark: bool = False


def kernel() -> Kernel | None:
    """Return the kernel, or None where NumPy is to be used."""
    return choice().kernel


@cache
def choice() -> Choice:
    """Return what this process uses; the first call looks, and logs what is wrong."""
    made = choose(LIBRARY, os.environ)
    if made.remark:
        log.warning("aggregation uses NumPy, which gives the same bytes more slowly: %s", made.reason)
    return made


def choose(library: Path, environ: Mapping[str, str]) -> Choice:
    """Try the kernel in this file."""
    if environ.get(VARIABLE) == "NO":
        return Choice(None, f"{VARIABLE} is NO")
    if not library.exists():
        return Choice(None, "the compiled kernel is not installed: there was no C compiler at installation")
    try:
        made = Kernel(library)
    except (OSError, AttributeError) as error:
        return Choice(None, f"the compiled kernel cannot be loaded ({error})", remark=True)
    if made.source != digest(SOURCES):
        return Choice(None, "the compiled kernel is of another source: install oneflower again", remark=True)
    from oneflower.aggregation.kernel_check import difference  # noqa: PLC0415 - it imports what imports this

    if found := difference(made):
        return Choice(None, f"the compiled kernel's {found} differs from NumPy's", remark=True)
    return Choice(made)


def digest(sources: Iterable[Path]) -> str:
    """Return what identifies the sources; the build compiles it into the library."""
    try:
        return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    except OSError:
        return ""


def summary() -> str:
    """Return in one line what does the aggregation."""
    made = choice()
    return "the compiled kernel" if made.kernel else f"NumPy ({made.reason})"
