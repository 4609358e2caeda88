"""How near to the memory's speed each rule aggregates: `aggregation.py --shares` prints it.

The share of a rule is the time that reading alone would take, over what the rule takes, both measured in turn
in processor seconds of one core: they include waiting for memory and leave out what other processes take.
What must be read is every update, and what a server optimizer keeps: the model that was sent and the moments.
Reading is the fastest of several ways: by NumPy, and by C at one, four and eight places at once.
"""

import ctypes
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from oneflower.flower.memory import keep_freed_memory, share_arenas, with_huge_pages

NDArray = np.ndarray[Any, np.dtype[Any]]
Read = Callable[[NDArray], object]
STREAMS = (1, 4, 8)
BEGIN, END = "<!-- read shares: begin -->", "<!-- read shares: end -->"
ENOUGH, SLOW_S = 3, 0.5
"""Repeats of a rule that takes longer than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """An aggregation: what is called, what it is given fresh each time, and the bytes that it must read."""

    aggregate: Callable[[int, list[Any]], object]
    given: Callable[[], list[Any]]
    bytes_read: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The median milliseconds of a rule, and its share of the bandwidth."""

    ms: float
    share: float


def start_as_a_serverapp(model_bytes: int) -> None:
    """Take memory as the ServerApp of such a model does; where its environment is missing, start again."""
    wanted = with_huge_pages(os.environ)
    if wanted != dict(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)  # noqa: S606 - no shell
    share_arenas()
    keep_freed_memory(model_bytes)


def ways_to_read() -> dict[str, Read]:
    """Return the ways to read an array once; those in C where there is a compiler."""
    ways: dict[str, Read] = {"NumPy": lambda array: np.maximum.reduce(array.view(np.int32))}
    compiler = shutil.which("cc")
    if compiler is None:
        return ways
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "reading.so")
        source = Path(__file__).with_name("reading.c")
        command = [compiler, "-O3", "-std=gnu11", "-fPIC", "-shared", str(source), "-o", str(library)]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            return ways
        loaded = ctypes.CDLL(str(library))
    for streams in STREAMS:
        ways[f"C, {streams} at once"] = _reader(getattr(loaded, f"read_{streams}"))
    return ways


def table(of_few: Mapping[str, Share], of_many: Mapping[str, Share], titles: Sequence[str]) -> str:
    """Return the shares as a table of Markdown."""
    heads = [f"{title}: ms | share" for title in titles]
    rows = [
        f"| {rule} | {few.ms:.1f} | {100 * few.share:.0f}% | {many.ms:.1f} | {100 * many.share:.0f}% |"
        for rule, few in of_few.items()
        for many in [of_many[rule]]
    ]
    return "\n".join([f"| rule | {' | '.join(heads)} |", "|---" * 5 + "|", *rows])


def write_table(page: Path, text: str) -> None:
    """Replace what is between the marks of this page."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def _reader(call: Callable[..., object]) -> Read:
    return lambda array: call(ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes))


def shares(
    rules: Mapping[str, Timed], updates: Sequence[NDArray], repeats: int
) -> tuple[dict[str, Share], str]:
    """Time every rule and every way to read in turn; return the shares, and the fastest way to read."""
    ways = ways_to_read()
    reading: dict[str, list[float]] = {way: [] for way in ways}
    taken: dict[str, list[float]] = {rule: [] for rule in rules}
    size = sum(array.nbytes for array in updates)
    for number in range(1, repeats + 1):
        for rule, timed in rules.items():
            if number > ENOUGH and median(taken[rule]) > SLOW_S:
                continue
            given = timed.given()
            gc.collect()
            start = time.process_time()
            timed.aggregate(number, given)
            taken[rule].append(time.process_time() - start)
            del given
        for way, read in ways.items():
            start = time.process_time()
            for array in updates:
                read(array)
            reading[way].append(time.process_time() - start)
    fastest = min(ways, key=lambda way: median(reading[way]))
    bandwidth = size / median(reading[fastest])
    found = {
        rule: Share(
            ms=1e3 * median(taken[rule]), share=rules[rule].bytes_read / bandwidth / median(taken[rule])
        )
        for rule in rules
    }
    return found, f"{bandwidth / 1e9:.1f} GB/s ({fastest})"
