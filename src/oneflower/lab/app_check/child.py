"""Check an app in a process of its own with a deadline: an app may wait for ever, or end its process."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from oneflower.files import replace_file
from oneflower.findings import Finding, Outcome, problem
from oneflower.lab.app_check.check import check_app
from oneflower.lab.app_check.hanging import line_of, show_stack_at
from oneflower.lab.app_check.verdict import verdict
from oneflower.lab.simulation import set_log_level

DEADLINE: Final = "deadline"
PROCESS: Final = "process"
STACK: Final = "stack.txt"
FINISHED: Final = "finished"
"""The last step: all findings are there."""
HOW_TO_END: Final = (
    "Find what it waits for (a download, a server, more clients), or give it longer with --deadline SECONDS"
)
HOW_TO_STAY: Final = "Remove calls of os._exit and what crashes the interpreter"
HOW_TO_FIND: Final = "Fix it; `oneflower simulate --clients 2 --app DIR` shows the whole traceback"


def check_within(  # noqa: PLR0913 - the inputs of a check, and its bounds
    app_dir: Path,
    *,
    run_config: Mapping[str, Any],
    clients: int,
    or_more: Sequence[int] = (),
    home: Path,
    deadline_s: float,
    log_level: str,
    variables: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Check an app as `check_app` does; one that takes longer is ended, with all that it has started.

    The `variables` are set in the environment of its process.
    """
    asked = {
        "app": str(app_dir),
        "run_config": dict(run_config),
        "clients": clients,
        "or_more": list(or_more),
        "home": str(home),
        "log_level": log_level,
    }
    result = home / "findings.json"
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", __name__, str(result)],
        env={**os.environ, **(variables or {})},
        stdin=subprocess.PIPE,
        stdout=sys.stderr.fileno() if _has_descriptor() else subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        child.communicate(json.dumps(asked).encode(), timeout=deadline_s)
    except subprocess.TimeoutExpired:
        ended = f"the app did not get through the checks within {deadline_s:g} s and was ended"
        line = line_of(child.pid, home / STACK, app_dir=app_dir, home=home)
        return _cut_off(result, DEADLINE, f"{ended} at {line}" if line else ended, HOW_TO_END)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    return _read(result, child.returncode)


def _has_descriptor() -> bool:
    try:
        sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return False
    return True


def _read(result: Path, code: int) -> list[Finding]:
    step, findings = _so_far(result)
    if step == FINISHED:
        return findings
    said = f"the app ended the process of the check (exit status {code})"
    return _cut_off(result, PROCESS, said, HOW_TO_STAY)


def _cut_off(result: Path, check: str, said: str, fix: str) -> list[Finding]:
    """Return the findings so far, and what ended the check in which step."""
    step, findings = _so_far(result)
    return _judged(findings, problem(check, f"{said}, while {step}" if step else said, fix))


def _judged(findings: list[Finding], last: Finding) -> list[Finding]:
    return [*findings, last, verdict([*findings, last], None)]


def _so_far(result: Path) -> tuple[str, list[Finding]]:
    try:
        written = json.loads(result.read_text(encoding="utf-8"))
        rows = written["findings"]
        return written["step"], [Finding(**{**row, "outcome": Outcome(row["outcome"])}) for row in rows]
    except (OSError, ValueError, LookupError, TypeError):  # it ended before the first step
        return "", []


def _main() -> None:
    asked = json.loads(sys.stdin.read())
    show_stack_at(Path(asked["home"]) / STACK)
    set_log_level(asked["log_level"])
    result = Path(sys.argv[1])
    so_far: list[Finding] = []

    def told(step: str, findings: Sequence[Finding]) -> None:
        so_far[:] = findings
        rows = [asdict(each) for each in findings]
        replace_file(result, json.dumps({"step": step, "findings": rows}).encode(), mode=0o600)

    try:
        with redirect_stdout(sys.stderr):
            found = check_app(
                Path(asked["app"]),
                run_config=asked["run_config"],
                clients=asked["clients"],
                or_more=asked["or_more"],
                home=Path(asked["home"]),
                told=told,
            )
    except (Exception, SystemExit) as error:  # noqa: BLE001  an app's code may raise anything, anywhere
        said = f"the app raised {type(error).__name__}: {error}"
        found = _judged(so_far, problem(PROCESS, said, HOW_TO_FIND))
    told(FINISHED, found)
    sys.stderr.flush()
    os._exit(0)  # threads that the app has started may never end


if __name__ == "__main__":
    _main()
