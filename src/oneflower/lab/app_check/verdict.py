"""What the findings come to, in one sentence."""

from collections.abc import Iterable, Sequence
from typing import Final

from oneflower.findings import Finding, Outcome, ok, problem
from oneflower.lab.app_check.client import MU, REPEATS
from oneflower.lab.app_check.probe import Way

VERDICT: Final = "verdict"
SETTINGS: Final = "settings"
"""What is asked for, and the app cannot have."""
_WITHOUT_A_RUN: Final = frozenset({MU, REPEATS})
"""An app trains all the same where only these have problems."""


def verdict(findings: Sequence[Finding], way: Way | None) -> Finding:
    """Say whether an app runs, with what, and what it needs for the rest."""
    stops = [each.check for each in findings if each.outcome is Outcome.PROBLEM]
    first = [name for name in stops if name not in _WITHOUT_A_RUN]
    if first == [SETTINGS]:
        return problem(VERDICT, "it is refused with these settings: see settings", "")
    if first or way is None:
        return problem(VERDICT, f"it does not run yet: see {' and '.join(first or stops)}", "")
    kept = "checkpoints and resume"
    if way is Way.LOOP:
        kept = "resume by replaying its recorded messages"
    runs = "it runs with" if way is Way.SDK else "it runs unchanged with"
    words = "; ".join([f"{runs} {kept}", *_lacks(findings)])
    return problem(VERDICT, words, "") if stops else ok(VERDICT, words)


def _lacks(findings: Iterable[Finding]) -> list[str]:
    found = {each.check: each.outcome for each in findings}
    lacks = []
    if found.get(REPEATS) is Outcome.PROBLEM:
        lacks.append("a resumed training does not end with the same bytes, because a generator is not seeded")
    if found.get(MU) in (Outcome.PROBLEM, Outcome.WARNING):
        lacks.append("FedProx needs the proximal term in the client")
    return lacks
