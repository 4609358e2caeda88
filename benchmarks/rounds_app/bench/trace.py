"""JSON lines with the wall-clock time of each event, from every process on one machine."""

import json
import os
import time
from pathlib import Path


def note(path: str, event: str, **fields: object) -> None:
    """Append one event. A line is written in one call, so that processes can share the file."""
    line = json.dumps({"event": event, "time": time.time(), **fields}) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def process_started() -> float:
    """Return the start time of this process in seconds since the epoch; for a fork, the time of the fork."""
    ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return boot + ticks / os.sysconf("SC_CLK_TCK")
