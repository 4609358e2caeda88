"""The line at which an app hangs comes from the stack of its process."""

import subprocess
import sys

import pytest

from oneflower.lab.app_check.hanging import line_of

START = "import sys, pathlib; from oneflower.lab.app_check.hanging import show_stack_at\n"
HANGS = f"""{START}show_stack_at(pathlib.Path(sys.argv[1]))
import threading, time
sys.path.insert(0, sys.argv[2])
{{rest}}
"""
MODULE = """import time


def wait(told=lambda: None):
    told()
    time.sleep(1e6)


def beside():
    time.sleep(1e6)
"""


@pytest.fixture
def app(tmp_path):
    """An app and its unpacked copy."""
    for folder in (tmp_path / "app", tmp_path / "home" / "apps" / "me.app.1"):
        (folder / "fish").mkdir(parents=True)
        (folder / "fish" / "work.py").write_text(MODULE)
    return tmp_path / "app"


@pytest.fixture
def hang(app, tmp_path):
    """Start a process that hangs in the unpacked copy, and ask it."""
    started = []

    def hang(rest):
        home = tmp_path / "home"
        code = HANGS.format(rest=f"import fish.work as work\ntold = lambda: print(1, flush=True)\n{rest}")
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(home / "stack.txt"), str(home / "apps" / "me.app.1")],
            stdout=subprocess.PIPE,
        )
        started.append(child)
        child.stdout.readline()
        return line_of(child.pid, home / "stack.txt", app_dir=app, home=home)

    yield hang
    for child in started:
        child.kill()
        child.wait()
        child.stdout.close()


def test_the_line_is_the_apps_innermost(hang):
    assert hang("work.wait(told)") in ("fish/work.py, line 5", "fish/work.py, line 6")


def test_another_thread_of_the_app_does_not_hide_the_one_that_hangs(hang):
    thread = "threading.Thread(target=work.beside, daemon=True).start()"
    assert hang(f"{thread}\nwork.wait(told)") != "fish/work.py, line 10"


def test_a_process_that_hangs_elsewhere_has_no_line(hang):
    assert hang("told()\ntime.sleep(1e6)") is None
