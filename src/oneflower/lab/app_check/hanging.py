"""Find the line of an app at which its process hangs."""

import faulthandler
import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_SIGNAL: Final = signal.SIGUSR1
_FRAME: Final = re.compile(r'^  File "(.+)", line ([0-9]+) in', re.MULTILINE)
_WAIT_S, _STEP_S = 1.0, 0.05


def show_stack_at(path: Path) -> None:
    """Let this process write its stack there when `line_of` asks; code in C does not prevent it."""
    file = path.open("w", encoding="utf-8")  # open as long as the process lives
    faulthandler.register(_SIGNAL, file=file, all_threads=True)


def line_of(pid: int, path: Path, *, app_dir: Path, home: Path) -> str | None:
    """Ask a process, a child that was not waited for, for its stack; return the app's innermost line.

    Parameters
    ----------
    path
        What the process gave to `show_stack_at`; one that has not done so is ended.
    home
        Where the app is unpacked.

    Returns
    -------
    str or None
        Such as "my_app/client.py, line 12"; None where the stack holds no line of the app.
    """
    with suppress(ProcessLookupError):
        os.kill(pid, _SIGNAL)
    for _ in range(int(_WAIT_S / _STEP_S)):
        time.sleep(_STEP_S)
        with suppress(OSError):
            text = path.read_text(encoding="utf-8", errors="replace")
            if text:
                return _innermost(text, app_dir, home.resolve())
    return None


def _innermost(text: str, app_dir: Path, home: Path) -> str | None:
    threads = sorted(text.split("\n\n"), key=lambda stack: "Current thread" not in stack)
    for name, line in _FRAME.findall("\n".join(threads)):
        frame = Path(name)
        if not frame.is_relative_to(home):
            continue
        parts = frame.relative_to(home).parts
        for start in range(len(parts)):
            if (app_dir / Path(*parts[start:])).is_file():
                return f"{'/'.join(parts[start:])}, line {line}"
    return None
