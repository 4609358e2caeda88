"""A program's output is bounded, its time too, and one that is not there is an OSError."""

import sys
import time

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
    begun = time.monotonic()
    ran = python(script)
    assert (ran.code, ran.out) == (0, "done\n")
    assert time.monotonic() - begun < 4.5


def test_a_child_that_keeps_printing_is_read_no_longer_than_the_deadline():
    child = "import time\nend = time.monotonic() + 8\nwhile time.monotonic() < end: print('x' * 9999)"
    script = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}]); print('done')"
    begun = time.monotonic()
    assert python(script, 2.0).code == 0
    assert time.monotonic() - begun < 6


def test_one_that_closes_its_output_and_goes_on_is_killed_at_the_deadline():
    assert python("import os, time; os.close(1); os.close(2); time.sleep(600)", 0.5).code is None


def test_the_environment_is_the_one_that_was_given():
    script = "import os; print(os.environ.get('HOME'), os.environ['GIVEN'])"
    ran = run_program((sys.executable, "-c", script), 60.0, environ={"GIVEN": "yes"})
    assert ran.out == "None yes\n"


@pytest.mark.parametrize("name", ["/nonexistent/nvidia-smi", "/"])
def test_a_program_that_cannot_be_started(name):
    with pytest.raises(OSError, match=r"No such file|Permission denied"):
        run_program((name,), 1.0)
