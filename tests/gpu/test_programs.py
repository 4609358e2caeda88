"""A program's output is bounded, its time too, and one that is not there is an OSError."""

import sys

import pytest

from oneflower.gpu.programs import MOST_BYTES, run_program


def python(script, timeout_s=60.0):
    return run_program((sys.executable, "-c", script), timeout_s)


def test_both_outputs_and_the_exit_code():
    ran = python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)")
    assert (ran.code, ran.out, ran.err, ran.said) == (7, "out\n", "err\n", "out\nerr")


def test_megabytes_are_cut_and_other_bytes_replaced():
    ran = python("import sys; sys.stdout.buffer.write(b'\\xff' + b'x' * (3 << 20)); sys.exit(0)")
    assert (ran.code, len(ran.out), ran.out[:2]) == (0, MOST_BYTES, "\ufffdx")


def test_a_program_that_does_not_end_is_killed():
    ran = python("print('begun', flush=True); import time; time.sleep(600)", 0.5)
    assert (ran.code, ran.out) == (None, "")


def test_a_child_that_keeps_the_output_open_does_not_hold_it_up():
    script = (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(5)']);"
        "print('done')"
    )
    assert python(script, 1.0).code is None


@pytest.mark.parametrize("name", ["/nonexistent/nvidia-smi", "/"])
def test_a_program_that_cannot_be_started(name):
    with pytest.raises(OSError, match=r"No such file|Permission denied"):
        run_program((name,), 1.0)
