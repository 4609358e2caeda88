"""Memory in large pieces: what is written there stays, and the environment's own word counts."""

import subprocess
import sys

import numpy as np
import pytest

from oneflower.flower.memory import (
    HUGE_PAGE,
    LEAST_FOR_HUGE_PAGES,
    TUNABLES,
    ask_for_huge_pages,
    return_freed_memory,
    unwritten_bytes,
    with_huge_pages,
)


@pytest.mark.parametrize("size", [1, LEAST_FOR_HUGE_PAGES // 4, (LEAST_FOR_HUGE_PAGES + HUGE_PAGE) // 4 + 7])
def test_memory_with_huge_pages_keeps_what_is_written_before_and_after(size):
    values = np.full(size, 3, np.float32)
    ask_for_huge_pages(values)
    assert (values == 3).all()
    values[...] = 4
    assert (values == 4).all()


def test_bytes_that_are_yet_to_be_written_have_their_length():
    assert [len(unwritten_bytes(size)) for size in (0, 1, 5_000_000)] == [0, 1, 5_000_000]


def test_a_serverapp_asks_for_huge_pages_unless_its_environment_says_something_of_them():
    assert with_huge_pages({}) == {TUNABLES: "glibc.malloc.hugetlb=1"}
    assert with_huge_pages({TUNABLES: "glibc.malloc.check=3"}) == {
        TUNABLES: "glibc.malloc.check=3:glibc.malloc.hugetlb=1"
    }
    chosen = {TUNABLES: "glibc.malloc.hugetlb=0", "OTHER": "x"}
    assert with_huge_pages(chosen) == chosen


HELD = """
import re, sys
from pathlib import Path
import numpy as np
from oneflower.flower.memory import return_freed_memory

def held():
    found = re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024

return_freed_memory(int(sys.argv[1]))
np.ones(3_000_000, np.float32)  # from here on glibc would take such arrays from its heap
before = held()
first, second = [], []
for _ in range(20):
    first.append(np.ones(2_000_000, np.float32))
    second.append(np.ones(2_000_000, np.float32))
del first
print((held() - before) / 8_000_000)
"""


def test_what_lies_freed_between_other_arrays_goes_back_to_linux():
    """As after a resume: the arrays of the file are freed, and those of the record made of them stay."""
    done = subprocess.run([sys.executable, "-c", HELD, "8000000"], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 25
    assert return_freed_memory(0) is None
