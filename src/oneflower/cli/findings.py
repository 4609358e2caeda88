"""Print the findings of `app check` and `appliance doctor`, as text or as JSON."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from oneflower.findings import Finding, Outcome
from oneflower.foreign_text import printable

STYLES = {"ok": "green", "warning": "yellow", "problem": "red", "skipped": "dim"}
_NARROWEST = 16


def print_findings(findings: Sequence[Finding], subject: str) -> None:
    """Print one line per check, below it how to fix a problem, and a summary."""
    console = Console(soft_wrap=True)
    for line in _lines(findings, subject):
        console.print(line)


def as_text(findings: Sequence[Finding], subject: str) -> str:
    """Return the same text without colours."""
    return "".join(f"{line.plain}\n" for line in _lines(findings, subject))


def as_rows(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return one JSON object per check."""
    return [
        {"check": each.check, "outcome": each.outcome.value, "found": each.found, "fix": each.fix}
        for each in findings
    ]


def has_problem(findings: Sequence[Finding]) -> bool:
    """Return whether any finding is a problem."""
    return any(each.outcome is Outcome.PROBLEM for each in findings)


def _lines(findings: Sequence[Finding], subject: str) -> list[Text]:
    width = max([_NARROWEST, *(len(each.check) + 2 for each in findings)])
    lines = []
    for each in findings:
        word = (f"{each.outcome.value:<9}", STYLES[each.outcome.value])
        lines.append(Text.assemble(word, f"{each.check:<{width}}", printable(each.found)))
        if each.fix:
            lines.append(Text(f"{'':<9}{'fix':<{width}}{printable(each.fix)}", style="dim"))
    return [*lines, Text(f"{subject}: {_verdict(findings)}", style="bold")]


def _verdict(findings: Sequence[Finding]) -> str:
    checks = [each for each in findings if each.check != "verdict"]
    counts = {name: sum(each.outcome == name for each in checks) for name in ("problem", "warning")}
    if not any(counts.values()):
        return "no problems found"
    return ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items() if count)
