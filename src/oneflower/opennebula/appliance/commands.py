"""The programs of the machine that the stages call, by argument lists."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from oneflower.errors import ClusterError

TIMEOUT_S = 120.0


class Commands(Protocol):
    """What the stages need of a machine's programs; tests give another."""

    def run(self, *command: str) -> str:
        """Run a program to its end and return its output; ClusterError where it fails."""


@dataclass(frozen=True, slots=True)
class SystemCommands:
    """The real programs, each given ``timeout_s``."""

    timeout_s: float = TIMEOUT_S

    def run(self, *command: str) -> str:
        """Run a program to its end and return its output.

        Raises
        ------
        ClusterError
            It is missing, fails, or does not end in time; with the end of what it said.
        """
        try:
            # A log may hold any bytes.
            done = subprocess.run(
                command,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=self.timeout_s,
                check=False,
            )
        except FileNotFoundError:
            raise ClusterError(
                f"{command[0]} is not installed: it belongs to the image; build it anew"
            ) from None
        except subprocess.TimeoutExpired:
            raise ClusterError(f"`{' '.join(command)}` has not ended within {self.timeout_s:.0f} s") from None
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-1000:] or "it said nothing"
            raise ClusterError(f"`{' '.join(command)}` failed with code {done.returncode}: {said}")
        return done.stdout


def succeeds(commands: Commands, command: Sequence[str]) -> bool:
    """Run a program and tell whether it did not fail."""
    try:
        commands.run(*command)
    except ClusterError:
        return False
    return True
