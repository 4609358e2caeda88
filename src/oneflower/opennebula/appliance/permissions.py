"""What another user of this machine can read and write, found out by doing it as that user."""

import os
import subprocess
from pathlib import Path


def write_problem(folder: Path, uid: int) -> str:
    """Create and remove a file as the user who will write there; root can write almost anywhere.

    Returns
    -------
    str
        The system's error; empty if there is none.
    """
    trial = str(folder / f".trial.{os.getpid()}")
    for program in ("/usr/bin/touch", "/usr/bin/rm"):
        done = _run_as(uid, program, "--", trial)
        if done.returncode:
            return done.stderr.strip() or f"{program} failed"
    return ""


def read_problem(folder: Path, uid: int) -> str:
    """Return what a user cannot read in a folder and two levels below it; empty if there is nothing."""
    words = ("-maxdepth", "3", "!", "-readable", "-print", "-quit")
    done = _run_as(uid, "/usr/bin/find", str(folder), *words)
    if done.stdout.strip():
        return f"{done.stdout.strip()} is not readable"
    return done.stderr.strip() if done.returncode else ""


def _run_as(uid: int, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, user=uid, group=uid, extra_groups=[], capture_output=True, text=True, check=False
    )
