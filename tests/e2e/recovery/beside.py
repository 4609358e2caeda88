"""Readers beside a training that is being broken: they must answer, and claim nothing that is not so."""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

LOOK_EVERY_S = 0.5
COMMAND_EVERY_S = 20.0
ANSWER_S = 90.0
PATHS = ("/", "/metrics", "/report", "/report.json")
COMMANDS = (("status", "--json"), ("report", "--format", "json"), ("metrics",), ("compare",))


class Readers:
    """A live page that is asked all the time, and the commands in turn; ``problem`` is the first fault."""

    def __init__(self, scene):
        self._scene = scene
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._page, self._port = None, 0
        self.problem, self.reads = "", 0

    def __enter__(self):
        command = [*_oneflower("dashboard"), "--journal", str(self._scene.journal), "--port", "0"]
        self._log = (self._scene.folder / "dashboard.log").open("wb")
        self._page = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, env=os.environ)
        first = self._page.stdout.readline().decode()
        self._port = int(first.partition("127.0.0.1:")[2].partition("/")[0])
        self._wait_for_page()
        self._thread.start()
        return self

    def _wait_for_page(self):
        """It says its address before it listens."""
        deadline = time.monotonic() + ANSWER_S
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), ANSWER_S):
                return
            time.sleep(0.05)

    def __exit__(self, *error):
        self._over.set()
        self._thread.join(2 * ANSWER_S)
        if self._page.poll() is not None:
            self._note(f"the page's process has ended with {self._page.returncode}")
        self._page.terminate()
        self._page.wait(30)
        self._page.stdout.close()
        self._log.close()
        text = (self._scene.folder / "dashboard.log").read_text(errors="replace")
        if "Traceback" in text or "Exception" in text:
            self._note(f"the page has logged {text[-800:]}")

    def _note(self, problem):
        self.problem = self.problem or f"readers: {problem}"

    def _look_on(self):
        turn, next_command = 0, time.monotonic() + COMMAND_EVERY_S
        while not self._over.wait(LOOK_EVERY_S):
            turn += 1
            try:
                self._ask(PATHS[turn % len(PATHS)])
                if time.monotonic() > next_command:
                    next_command = time.monotonic() + COMMAND_EVERY_S
                    self._run(COMMANDS[turn % len(COMMANDS)])
            except (OSError, http.client.HTTPException) as error:
                self._note(f"{type(error).__name__}: {error}")
            self.reads += 1

    def _ask(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            self._note(f"{path} answered {answer.status}: {body[:300]!r}")
        elif path == "/report.json":
            self._check(json.loads(body)["training"])

    def _run(self, command):
        place = (str(self._scene.state),) if command[0] == "compare" else ("--state", str(self._scene.state))
        output = ("--output", "-") if command[0] == "report" else ()
        done = subprocess.run(
            [*_oneflower(*command), *place, *output],
            capture_output=True,
            text=True,
            timeout=2 * ANSWER_S,
            check=False,
        )
        # 7: the journal cannot be read just now, which is said.
        if done.returncode not in (0, 7) or "Traceback" in done.stderr:
            self._note(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr[-500:]}")

    def _check(self, told):
        """A training that goes on is not said to have ended."""
        kept = self._scene.kept.get(self._scene.head)
        codes = kept.codes if kept else []
        failed = told["phase"] == "failed" and not any(code > 0 for code in codes)
        if failed or (told["phase"] == "finished" and told["round"] < told["rounds"]):
            self._note(f"the page says {told['phase']}: {told['failure']} while the training goes on")


def _oneflower(*arguments):
    return [sys.executable, "-m", "oneflower.cli.main", *arguments]
