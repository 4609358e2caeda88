"""Start one process of the cluster with its own session and log file; it dies with this process."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from oneflower.errors import ClusterError
from oneflower.files import open_to_read, open_to_write, require_file, state_errors
from oneflower.local_cluster import guard
from oneflower.procfs import Identity, identify

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
TAIL_LINES = 15
TAIL_BYTES = 8192
MAX_LOG_BYTES = 32 * 1024 * 1024
_CUT = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(slots=True, kw_only=True)
class Child:
    """A child process."""

    role: str
    identity: Identity
    log: Path
    popen: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """The process id, also the id of its session and group."""
        return self.identity.pid

    def exit_code(self) -> int | None:
        """Reap the process; return its exit code (negative: a signal), or None while it runs."""
        return self.popen.poll()


def spawn(
    role: str, command: Sequence[str], *, environment: Mapping[str, str], log: Path, folder: Path
) -> Child:
    """Start a process that dies with this one.

    Call it in a thread that lives as long as the process should: the kernel sends the death signal when the
    *thread* that started the process ends.

    Raises
    ------
    StateError
        The log cannot be written.
    ClusterError
        The program cannot be started.
    """
    guarded = [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), *command]
    with state_errors(log), os.fdopen(open_to_write(log, os.O_WRONLY | os.O_APPEND), "ab") as output:
        try:
            popen = subprocess.Popen(
                guarded,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=folder,
                start_new_session=True,
            )
        except OSError as error:
            raise ClusterError(f"cannot start the {role} ({command[0]}): {error.strerror}") from error
    identity = identify(popen.pid)
    if identity is None:
        popen.wait()
        raise ClusterError(f"the {role} ended immediately with code {popen.returncode}\n{tail(log)}")
    return Child(role=role, identity=identity, log=log, popen=popen)


def previous(log: Path) -> Path:
    """Return where the earlier part of a log is kept: of the start before, or what was cut off."""
    return log.with_suffix(".log.1")


def cut(log: Path, max_bytes: int = MAX_LOG_BYTES) -> None:
    """Empty a log that has grown too long, after copying it: a client can make a SuperLink write lines.

    The process keeps the file open, and appends: it writes on at the start of the file. What it writes
    during the copy may be lost.
    """
    with suppress(OSError), os.fdopen(os.open(log, _CUT), "r+b") as file:
        require_file(file.fileno())
        if os.fstat(file.fileno()).st_size > max_bytes:
            copy = previous(log).with_name(f".{previous(log).name}.{os.getpid()}")
            copy.unlink(missing_ok=True)
            with os.fdopen(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as kept:
                shutil.copyfileobj(file, kept)
            copy.replace(previous(log))
            file.truncate(0)


def tail(log: Path) -> str:
    """Return the last lines of a log, for the text of an error."""
    with suppress(OSError), open_to_read(log, follow=False) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
        text = COLOURS.sub("", file.read(TAIL_BYTES).decode(errors="replace"))
        lines = text.splitlines()[-TAIL_LINES:]
        return "\n".join([f"The end of {log}:", *(f"  | {line}" for line in lines)])
    return f"Its log {log} cannot be read."
