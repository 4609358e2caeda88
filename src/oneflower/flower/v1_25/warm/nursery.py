"""The executor's side of a zygote: start it, let it load an app, run messages in its children."""

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from logging import INFO
from pathlib import Path
from typing import Any

from flwr.common import log
from flwr.common.typing import Fab, Run

from oneflower.flower.v1_25.warm import exchange
from oneflower.flower.v1_25.warm.exchange import ParcelWriter, new_parcel

LINGER_S = 10.0
"""How long a child may take to exit after its reply is complete."""
LOAD_S = 600.0
"""How long importing an app may take."""
GLANCE_S = 0.5
"""How often a child that runs is checked against its deadline."""


class ChildEndedError(Exception):
    """The child is gone without a complete reply; the text says how."""


@dataclass(slots=True, kw_only=True)
class Zygote:
    """A zygote process and the socket to it. `fab_hash` is empty until it has loaded an app."""

    process: "subprocess.Popen[bytes]"
    channel: socket.socket
    fab_hash: str = ""
    unforkable: str = ""
    lingering: dict[int, float] = field(default_factory=dict)

    @classmethod
    def start(cls) -> "Zygote":
        """Start one; it imports Flower while nobody waits for it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-P", "-m", "oneflower.flower.v1_25.warm.zygote"]
        command += [str(theirs.fileno()), str(os.getpid())]
        with theirs:
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        return cls(process=process, channel=ours)

    def stop(self) -> None:
        """End the process and its children."""
        self.process.kill()
        self.process.wait()
        self.channel.close()

    def load(self, run: Run, fab: Fab, flwr_dir: Path, *, learns: bool) -> tuple[int, str] | None:
        """Let it import the app of a FAB; return the code and reason of the error reply where it cannot.

        With `learns` it also imports what its children have imported while they ran.

        Raises
        ------
        ChildEndedError
            It died on the way: out of memory, or a crash in native code.
        """
        with _descriptor("fab") as descriptor:
            parcel = ParcelWriter(descriptor)
            parcel.add("fab", fab.content)
            parcel.close()
            app = {"fab_id": run.fab_id, "fab_version": run.fab_version, "fab_hash": fab.hash_str}
            self._send({"load": {**app, "flwr_dir": str(flwr_dir), "learns": learns}}, [descriptor])
        answer = self._receive_within(LOAD_S)
        if not answer["loaded"]:
            return answer["code"], answer["reason"]
        self.fab_hash, self.unforkable = fab.hash_str, answer["unforkable"]
        return None

    def run(
        self, message_id: str, inputs: int, outputs: int, *, deadline_s: float, lost: Callable[[], bool]
    ) -> None:
        """Run one message in a child until its reply is complete.

        Raises
        ------
        ChildEndedError
            The child died, or was killed: after `deadline_s` seconds, or when `lost()`.
        """
        self._send({"run": message_id}, [inputs, outputs])
        started = time.monotonic()
        pid, reason, done = 0, "", False
        while not (pid and done):  # a quick child says that it is done before the zygote has named it
            if pid and not reason and (reason := _overdue(started, deadline_s, lost)):
                self._send({"kill": pid})
            if not self._readable(GLANCE_S):
                continue
            event = self._receive()
            pid = event.get("started", pid)
            done = done or event.get("done", -1) not in {-1, *self.lingering}
            if event.get("ended") == pid:
                raise ChildEndedError(reason or _how(event["status"], time.monotonic() - started))
            self.lingering.pop(event.get("ended", 0), None)
        self.lingering[pid] = time.monotonic() + LINGER_S

    def look_after(self) -> None:
        """Take note of children that have ended, and kill those that answered and do not end."""
        while self._readable(0.0):
            self.lingering.pop(self._receive().get("ended", 0), None)
        now = time.monotonic()
        for pid in [pid for pid, until in self.lingering.items() if now > until]:
            self._send({"kill": pid})
            self.lingering[pid] = now + LINGER_S

    def settle(self) -> str:
        """Wait until it is done with what its last child left; say why it is spoiled, empty if it is not.

        A spoiled zygote's children would not be as new processes are.
        """
        self._send({"settle": True})
        while "settled" not in (event := self._receive_within(LOAD_S)):
            self.lingering.pop(event.get("ended", 0), None)
        return str(event["settled"])

    def _readable(self, timeout_s: float) -> bool:
        return bool(select.select([self.channel], [], [], timeout_s)[0])

    def _send(self, order: dict[str, Any], descriptors: list[int] | None = None) -> None:
        try:
            exchange.send(self.channel, order, descriptors or [])
        except OSError as error:
            raise self._death() from error

    def _receive_within(self, seconds: float) -> dict[str, Any]:
        """Wait for an answer, awake: an executor whose main thread rests for minutes is taken to hang."""
        deadline = time.monotonic() + seconds
        while not self._readable(GLANCE_S):
            if time.monotonic() > deadline:
                self.process.kill()
                raise ChildEndedError(
                    f"the process that imports the app has not answered for {seconds:.0f} s"
                )
        return self._receive()

    def _receive(self) -> dict[str, Any]:
        try:
            return exchange.receive(self.channel)[0]
        except (EOFError, OSError) as error:
            raise self._death() from error

    def _death(self) -> ChildEndedError:
        self.process.kill()
        return ChildEndedError(f"the process that had imported the app ended: {_code(self.process.wait())}")


class Nursery:
    """One zygote, for the app of the last message; another app takes its place."""

    def __init__(self, flwr_dir: Path) -> None:
        self._flwr_dir = flwr_dir
        self._unteachable: set[str] = set()
        self._zygote: Zygote | None = Zygote.start()

    def zygote_for(self, run: Run, fab: Fab) -> tuple[Zygote, tuple[int, str] | None]:
        """Return a zygote for a FAB, and the error of loading it, if there is one."""
        zygote = self._usable(fab.hash_str)
        if zygote.fab_hash:
            return zygote, None
        error = zygote.load(run, fab, self._flwr_dir, learns=fab.hash_str not in self._unteachable)
        if error:
            self.forget()  # half an import is no clean start for the next try
        return zygote, error

    def _usable(self, fab_hash: str) -> Zygote:
        """Return the zygote if it has loaded that app or none yet, and is alive and well; else a new one."""
        zygote = self._zygote
        if zygote is None or zygote.fab_hash not in {"", fab_hash} or self._is_unwell(zygote):
            self.forget()
            zygote = self._zygote = Zygote.start()
        return zygote

    def _is_unwell(self, zygote: Zygote) -> bool:
        try:
            spoiled = zygote.settle()
        except ChildEndedError:
            return True
        if spoiled:
            log(INFO, "late imports are left to each message reason=%s", spoiled)
            self._unteachable.add(zygote.fab_hash)
        return bool(spoiled)

    def forget(self) -> None:
        """End the zygote; the next message starts another."""
        if self._zygote is not None:
            self._zygote.stop()
            self._zygote = None

    def look_after(self) -> None:
        """See `Zygote.look_after`."""
        if self._zygote is not None:
            try:
                self._zygote.look_after()
            except ChildEndedError:
                self.forget()


class _descriptor:  # noqa: N801 - reads as a function
    """A new parcel's descriptor, closed at the end."""

    def __init__(self, name: str) -> None:
        self._descriptor = new_parcel(name)

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _overdue(started: float, deadline_s: float, lost: Callable[[], bool]) -> str:
    elapsed = time.monotonic() - started
    if elapsed > deadline_s:
        return f"not finished {deadline_s:.0f} s after it started, when its message expires"
    return "the SuperNode has given it up" if lost() else ""


def _how(status: int, seconds: float) -> str:
    return f"{_code(status)} after {seconds:.1f} s"


def _code(status: int) -> str:
    return f"killed by signal {-status}" if status < 0 else f"exited with code {status}"
