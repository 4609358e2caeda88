"""Run a program that may not be there, may not end, and may print anything."""

import os
import selectors
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

MOST_BYTES: Final = 1 << 20
TORCH_GPUS: Final = "oneflower.gpu.torch_gpus"
"""The module that asks PyTorch. It is run, not imported: Python warns of a program that is imported first."""
LONGEST: Final = 500
"""Characters of an error that it prints."""
_CHUNK: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a program ended.

    Attributes
    ----------
    code
        Its exit code; None where it did not end in time and was killed.
    out, err
        The first `MOST_BYTES` of what it printed; bytes that are not UTF-8 are replaced.
    """

    code: int | None
    out: str = ""
    err: str = ""

    @property
    def said(self) -> str:
        """What it printed, errors last."""
        return "\n".join(text for text in (self.out.strip(), self.err.strip()) if text)


Run = Callable[[Sequence[str], float], Ran]
"""Runs an argument list for at most so many seconds; OSError where that cannot be started."""


def run_program(command: Sequence[str], timeout_s: float, *, environ: Mapping[str, str] | None = None) -> Ran:
    """Run a program; what it prints beyond `MOST_BYTES` is read and dropped.

    It has ended when its own process has: children that it leaves, and their output, are not waited for.

    Raises
    ------
    OSError
        It is not there, or cannot be executed.
    """
    deadline = time.monotonic() + timeout_s
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            texts = _read(process, deadline)
            code = process.wait(max(deadline - time.monotonic(), 0.001))
        except (TimeoutError, subprocess.TimeoutExpired):
            # Not waited for without end: a program that waits for a dead GPU cannot even be killed.
            process.kill()
            _leave(process)
            return Ran(code=None)
    return Ran(code=code, out=texts[0], err=texts[1])


def _read(process: subprocess.Popen[bytes], deadline: float) -> list[str]:
    """Return both outputs; TimeoutError where the process has not ended at the deadline."""
    kept = {stream.fileno(): bytearray() for stream in (process.stdout, process.stderr) if stream is not None}
    end = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            for descriptor in (end, *kept):
                selector.register(descriptor, selectors.EVENT_READ)
            while selector.get_map():
                has_ended = end not in selector.get_map()
                left_s = deadline - time.monotonic()
                if left_s <= 0 and not has_ended:
                    raise TimeoutError
                ready = selector.select(0 if has_ended else left_s)
                if has_ended and (not ready or left_s <= 0):
                    break  # a child of it has the rest open
                for key, _ in ready:
                    data = b"" if key.fd == end else os.read(key.fd, _CHUNK)
                    if not data:
                        selector.unregister(key.fd)
                    elif len(kept[key.fd]) < MOST_BYTES:
                        kept[key.fd] += data[: MOST_BYTES - len(kept[key.fd])]
    finally:
        os.close(end)
    return [bytes(buffer).decode("utf-8", errors="replace") for buffer in kept.values()]


def _leave(process: subprocess.Popen[bytes]) -> None:
    """Close what is open of a killed process, and collect it if it goes at once."""
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(1.0)
    if process.returncode is None:
        process.returncode = -9  # `with` would wait for it
