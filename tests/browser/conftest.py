"""A real browser, a real server in a process of its own, and journals to show."""

import contextlib
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CHROMIUM = Path("/usr/bin/chromium")
AXE = ROOT / ".cache" / "axe" / "package" / "axe.min.js"
# Screenshots are kept outside git: CI collects this folder.
PICTURES = Path(os.environ.get("ONEFLOWER_ARTIFACTS", ROOT / ".cache" / "screenshots"))
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_TIMEOUT_S = 60


def _load_scenes():
    spec = importlib.util.spec_from_file_location("browser_scenes", HERE / "scenes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def scenes():
    """The module that plays trainings into journals."""
    return _load_scenes()


@pytest.fixture(scope="session")
def axe():
    """The source of axe-core."""
    if not AXE.is_file():
        pytest.skip(f"{AXE.relative_to(ROOT)} is not there: tests/browser/get-tools fetches it")
    return AXE.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def browser():
    """Debian's chromium, driven by playwright."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not there: apt-get install --no-install-recommends chromium")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=CHROMIUM_OPTIONS)
        yield started
        started.close()


@dataclass
class Visit:
    """A page, and what its console said."""

    page: object
    complaints: list = field(default_factory=list)

    def text(self, part):
        return self.page.locator(f"#{part}").inner_text()

    def waits_for(self, part, words, timeout_s=60):
        """Wait until a part says it; playwright's own waiting evaluates text, which the policy forbids."""
        limit = time.monotonic() + timeout_s
        while words not in (said := self.text(part)):
            assert time.monotonic() < limit, f"#{part} does not say {words!r}: {said}"
            self.page.wait_for_timeout(50)

    def picture(self, name):
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


@pytest.fixture
def visit(browser):
    """Open an address; at the end the console must have had no complaint but those that a test expects."""
    visits, contexts = [], []

    def open_page(url, *, width=1320, height=900, wait=True, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(30_000)
        contexts.append(context)
        seen = Visit(context.new_page())
        seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        seen.page.on(
            "console",
            lambda said: seen.complaints.append(said.text) if said.type in {"error", "warning"} else None,
        )
        visits.append(seen)
        seen.page.goto(url)
        if wait:
            seen.waits_for("link", "Live")
        return seen

    yield open_page
    for context in contexts:
        context.close()
    assert [complaint for seen in visits for complaint in seen.complaints] == []


class Server:
    """`oneflower dashboard` as a process."""

    def __init__(self, journal, *options, port=0):
        self.journal, self.options, self.port = journal, options, port
        self.process = None

    def start(self):
        command = [sys.executable, "-m", "oneflower.cli.main", "dashboard", "--journal", str(self.journal)]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), *self.options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said, found = "", None
        while not found and (line := self.process.stdout.readline()):  # a warning may come before it
            said, found = said + line, re.search(r"http://\S+:(\d+)/", line)
        assert found, said
        self.url, self.port = found[0], int(found[1])
        self._wait()
        return self

    def _wait(self):
        limit = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < limit:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise AssertionError("the server does not answer")

    def stop(self, how=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.communicate(timeout=30)


@pytest.fixture
def serve():
    """Serve a journal; the process ends with the test."""
    servers = []

    def start(journal, *options):
        server = Server(journal, *options).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


def until_now(path):
    """Move a journal's times so that its last event has just happened."""
    events = [json.loads(line) for line in path.read_text().splitlines()]
    shift = datetime.now(UTC) - datetime.fromisoformat(events[-1]["time"])
    for event in events:
        event["time"] = (datetime.fromisoformat(event["time"]) + shift).isoformat()
    path.write_text("".join(json.dumps(event) + "\n" for event in events))


@pytest.fixture
def resumed(tmp_path, scenes):
    """The journal of a training with a kill and a quarantined client, in its thirteenth round."""
    path = tmp_path / "journal.jsonl"
    scenes.killed_and_resumed(path)
    until_now(path)
    return path
