"""What one check found."""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a check ended; only a PROBLEM changes an exit code."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: its name, how it ended, what was found in words, and how to mend it."""

    check: str
    outcome: Outcome
    found: str
    mend: str = ""


def ok(check: str, found: str) -> Finding:
    """Return that a check passed."""
    return Finding(check=check, outcome=Outcome.OK, found=found)


def warning(check: str, found: str, mend: str) -> Finding:
    """Return that something works less well than it could."""
    return Finding(check=check, outcome=Outcome.WARNING, found=found, mend=mend)


def problem(check: str, found: str, mend: str) -> Finding:
    """Return that something does not work."""
    return Finding(check=check, outcome=Outcome.PROBLEM, found=found, mend=mend)


def skipped(check: str, reason: str) -> Finding:
    """Return that a check could not be made."""
    return Finding(check=check, outcome=Outcome.SKIPPED, found=reason)
