"""The result of a check, and how to fix a problem."""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """The outcome of a check; only PROBLEM changes an exit code."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check: its name, the outcome, what was found, and how to fix it."""

    check: str
    outcome: Outcome
    found: str
    fix: str = ""


def ok(check: str, found: str) -> Finding:
    """Return a finding that the check passed."""
    return Finding(check=check, outcome=Outcome.OK, found=found)


def warning(check: str, found: str, fix: str) -> Finding:
    """Return a finding that something works, but not as well as it should."""
    return Finding(check=check, outcome=Outcome.WARNING, found=found, fix=fix)


def problem(check: str, found: str, fix: str) -> Finding:
    """Return a finding that something does not work."""
    return Finding(check=check, outcome=Outcome.PROBLEM, found=found, fix=fix)


def skipped(check: str, reason: str) -> Finding:
    """Return a finding that the check was not run."""
    return Finding(check=check, outcome=Outcome.SKIPPED, found=reason)
