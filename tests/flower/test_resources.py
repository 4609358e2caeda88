"""A SuperLink stays on one processor, and what it starts does not."""

import os
import subprocess
import sys

import pytest

from oneflower.flower.resources import ALL, stay_on_one, use_all

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux alone has it")


@pytest.fixture
def processors():
    """Give the processors of this process, and restore them."""
    found = os.sched_getaffinity(0)
    yield found
    os.sched_setaffinity(0, found)


def test_a_child_has_all_processors_back(processors):
    if len(processors) == 1:
        pytest.skip("this machine has one processor")
    environ = dict(os.environ)
    chosen = stay_on_one(environ)
    assert os.sched_getaffinity(0) == {chosen} < processors
    program = (
        "import os; from oneflower.flower.resources import use_all; "
        "print(len(os.sched_getaffinity(0))); use_all(os.environ); print(len(os.sched_getaffinity(0)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", str(len(processors))]


def test_who_has_one_processor_keeps_it(processors):
    (one, *_) = processors
    os.sched_setaffinity(0, {one})
    environ = {}
    assert stay_on_one(environ) is None
    assert environ == {}


@pytest.mark.parametrize("given", ["", "x", "99999"])
def test_a_list_of_no_use_changes_nothing(processors, given):
    use_all({ALL: given})
    assert os.sched_getaffinity(0) == processors
