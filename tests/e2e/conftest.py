"""A Flower app of a few NumPy lines, and `oneflower up` as a real process."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache

import pytest

from oneflower.journal import read_journal
from oneflower.local_cluster.processes import MARKER
from oneflower.procfs import with_environment
from oneflower.settings import render_context

from .numpy_app import write_numpy_app
from .recovery.simulated import simulated_sha256

# Under the timeout of a test, and far above what a busy machine needs.
WAIT_S = 240.0
# A shell's background ignores SIGINT, which a child inherits and `oneflower up` respects.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A proxy that leads nowhere, by every name that a library looks for.
PROXIES = {
    name: "http://127.0.0.1:9"
    for variable in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
    for name in (variable, variable.upper())
} | {"no_proxy": "", "NO_PROXY": ""}


class Up:
    """One `oneflower up` in a state folder, with a context of its own."""

    def __init__(self, folder, app, processes):
        self.state = folder / "state"
        self.app, self.processes = app, processes
        self._folder = folder

    def write_context(self, **variables):
        """Write a context file; variables are FL_* without the prefix."""
        given = {"NUM_ROUNDS": "3", "CHECKPOINT_ENABLED": "YES", "CHECKPOINT_INTERVAL": "1", **variables}
        context = self._folder / "context.sh"
        context.write_text(render_context({f"FL_{name}": value for name, value in given.items()}))
        return context

    def start(self, *options, environ=None, app=None, **variables):
        """Start it with these variables."""
        context = self.write_context(**variables)
        return self.start_context(context, "--app", str(app or self.app), *options, environ=environ)

    def start_context(self, context, *options, environ=None):
        """Start it from a context file; the environment wins over the file."""
        command = [sys.executable, "-m", "oneflower.cli.main", "up", "--context", str(context)]
        command += ["--state", str(self.state), *options]
        process = subprocess.Popen(
            command,
            env={**os.environ, **(environ or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        return process

    def run(self, *options, **given):
        """Run it to its end; return its exit code and what it printed."""
        process = self.start(*options, **given)
        output, _ = process.communicate(timeout=WAIT_S)
        return process.returncode, output

    def events(self, *names):
        entries = read_journal(self.state / "journal.jsonl")
        return [entry.event for entry in entries if entry.event.tag in names]

    def wait_for(self, name, **fields):
        """Wait until the journal holds an event with these fields; return the newest."""
        return self.wait_until(
            lambda: [e for e in self.events(name) if all(getattr(e, key) == fields[key] for key in fields)],
            f"no {name} {fields}",
        )[-1]

    def wait_until(self, condition, problem="not in time"):
        """Wait until something holds while the process that was started last runs; return what held."""
        deadline = time.monotonic() + WAIT_S
        while not (found := condition()):
            assert time.monotonic() < deadline, problem
            assert self.processes[-1].poll() is None, self.processes[-1].communicate()[0]
            time.sleep(0.05)
        return found

    def kill_everything(self, process):
        """End `oneflower up` and all that it has started with SIGKILL, by pid: nobody can tidy up."""
        started = running(self.token())
        process.kill()
        for identity in started:
            with suppress(ProcessLookupError):
                os.kill(identity.pid, signal.SIGKILL)
        process.wait()

    def token(self):
        found = re.search(r'"token": "(\w+)"', (self.state / "processes.json").read_text())
        return found[1]

    def pid(self, role):
        text = (self.state / "processes.json").read_text()
        return int(re.search(rf'"{role}": {{\s*"pid": (\d+)', text)[1])


def running(token):
    return list(with_environment(MARKER, token))


@pytest.fixture
def numpy_app(tmp_path):
    return write_numpy_app(tmp_path / "numpy-app")


@pytest.fixture
def up(tmp_path, numpy_app):
    processes = []
    yield Up(tmp_path, numpy_app, processes)
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """Return the SHA-256 of a simulation of the NumPy app, which is that of any undisturbed cluster."""

    @cache
    def train(clients, given):
        folder = tmp_path_factory.mktemp("simulated")
        app = write_numpy_app(folder / "numpy-app")
        return simulated_sha256(folder / "state", app, clients=clients, **dict(given))

    return lambda clients, **given: train(clients, frozenset(given.items()))


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A training that `oneflower up` has brought to its end, for tests that only look at it.

    ``output`` is what it printed. There was a proxy in its environment that leads nowhere.
    """
    folder = tmp_path_factory.mktemp("finished")
    up = Up(folder, write_numpy_app(folder / "numpy-app"), [])
    code, up.output = up.run(environ=PROXIES, **FINISHED)
    assert code == 0, up.output
    return up


FINISHED = {"NUM_ROUNDS": "3", "CHECKPOINT_KEEP": "2", "LOG_LEVEL": "INFO"}


@pytest.fixture
def up_again(up, finished):
    """`oneflower up` on a copy of the finished training's state folder."""
    shutil.copytree(finished.state, up.state, symlinks=True)
    return up
