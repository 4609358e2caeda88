"""Run the machine's programs, by argument lists."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from oneflower.errors import ClusterError

TIMEOUT_S = 120.0


class Commands(Protocol):
    """Runs programs; tests replace it."""

    def run(self, *command: str) -> str:
        """Run a program to its end and return its output; ClusterError if it fails."""


@dataclass(frozen=True, slots=True)
class SystemCommands:
    """Runs the real programs, each for at most ``timeout_s``."""

    timeout_s: float = TIMEOUT_S

    def run(self, *command: str) -> str:
        """Run a program to its end and return its output.

        Raises
        ------
        ClusterError
            It is not installed, fails, or does not end in time. The error contains the end of its output.
        """
        try:
            # A log may contain any bytes.
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
                f"{command[0]} is not installed: expected it in the image; build the image again"
            ) from None
        except subprocess.TimeoutExpired:
            raise ClusterError(f"`{' '.join(command)}` did not end within {self.timeout_s:.0f} s") from None
        if done.returncode:
            output = (done.stderr or done.stdout).strip()[-1000:] or "no output"
            raise ClusterError(f"`{' '.join(command)}` failed with exit code {done.returncode}: {output}")
        return done.stdout


def succeeds(commands: Commands, command: Sequence[str]) -> bool:
    """Run a program and return whether it succeeded."""
    try:
        commands.run(*command)
    except ClusterError:
        return False
    return True
