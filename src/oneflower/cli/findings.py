"""What checks found, for people and for programs: `app check` and `appliance doctor` print it alike."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from oneflower.findings import Finding, Outcome
from oneflower.monitor.lines import printable

STYLES = {"ok": "green", "warning": "yellow", "problem": "red", "skipped": "dim"}
_NARROWEST = 16


def print_findings(findings: Sequence[Finding], subject: str) -> None:
    """Print one line a check, how to mend it below, and a verdict."""
    console = Console(soft_wrap=True)
    for line in _lines(findings, subject):
        console.print(line)


def as_text(findings: Sequence[Finding], subject: str) -> str:
    """Return the same without colours."""
    return "".join(f"{line.plain}\n" for line in _lines(findings, subject))


def as_rows(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return one JSON object a check."""
    return [
        {"check": each.check, "outcome": each.outcome.value, "found": each.found, "mend": each.mend}
        for each in findings
    ]


def has_problem(findings: Sequence[Finding]) -> bool:
    """Tell whether something does not work."""
    return any(each.outcome is Outcome.PROBLEM for each in findings)


def _lines(findings: Sequence[Finding], subject: str) -> list[Text]:
    width = max([_NARROWEST, *(len(each.check) + 2 for each in findings)])
    lines = []
    for each in findings:
        word = (f"{each.outcome.value:<9}", STYLES[each.outcome.value])
        lines.append(Text.assemble(word, f"{each.check:<{width}}", printable(each.found)))
        if each.mend:
            lines.append(Text(f"{'':<9}{'to mend':<{width}}{printable(each.mend)}", style="dim"))
    return [*lines, Text(f"{subject}: {_verdict(findings)}", style="bold")]


def _verdict(findings: Sequence[Finding]) -> str:
    counts = {name: sum(each.outcome == name for each in findings) for name in ("problem", "warning")}
    if not any(counts.values()):
        return "everything that was checked is right"
    return ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items() if count)
