"""Watch over one Flower program and all that it has started: ``python -m oneflower.flower.guard PID``.

The launcher starts it beside a SuperLink or a SuperNode that has no other supervision. A process that a
signal stopped is continued; one that hangs is ended, even the program itself, whose parent
restarts it. It imports nothing of Flower's and ends with the program.
"""

import sys
import time
from collections.abc import Iterator
from typing import Final

from oneflower import procfs
from oneflower.flower.health import EVERY_S, Health
from oneflower.flower.programs import program_of
from oneflower.flower.watch import die_with_parent
from oneflower.procfs import ProcessStatus

GUARDED: Final = "ONEFLOWER_GUARDED"
"""Set in the environment of processes that are supervised already, as by `oneflower up`."""


class Family:
    """A process and its descendants."""

    def __init__(self, top: int) -> None:
        self._top = top

    def statuses(self) -> Iterator[ProcessStatus]:
        """Yield them; never this process's own."""
        found = {status.identity.pid: status for status in procfs.statuses()}
        for pid, status in found.items():
            seen: ProcessStatus | None = status
            while seen is not None and seen.identity.pid != self._top:
                seen = found.get(seen.parent)
            if seen is not None and not self._is_guard(pid):
                yield status

    def _is_guard(self, pid: int) -> bool:
        return __name__ in procfs.command_line(pid) or "oneflower.flower.guard" in procfs.command_line(pid)


def role_of(status: ProcessStatus) -> str:
    """Name a process by the program that it runs."""
    command = procfs.command_line(status.identity.pid)
    return program_of(command) or (command[-1] if command else "process")


def main(argv: list[str]) -> None:
    """Look for as long as the program lives."""
    top = int(argv[0])
    die_with_parent(top)
    health = Health(role_of=role_of, statuses=Family(top).statuses)
    while True:
        for stalled in health.look():
            sys.stderr.write(
                f"WARNING :     {stalled.role} (pid {stalled.pid}) was {stalled.act}: {stalled.reason}\n"
            )
            sys.stderr.flush()
        time.sleep(EVERY_S)


if __name__ == "__main__":
    main(sys.argv[1:])
