"""Clients that are far from the model, or never used, as text."""

from collections.abc import Iterator, Sequence
from math import isfinite, isnan
from typing import Final

from oneflower.journal import TrainingState
from oneflower.journal.state import Course, outliers
from oneflower.journal.state.outliers import WINDOW
from oneflower.words import counted

MOST_ROWS: Final = 5
NAME_WIDTH: Final = 32


def medians(ratio: float) -> str:
    """Return a norm in medians as people read it."""
    if isnan(ratio):
        return ""
    return f"{ratio:.3g}" if isfinite(ratio) else "too large"


def remarks(found: Sequence[Course]) -> Iterator[str]:
    """Say how many clients are far, and how many are near and never used."""
    if far := sum(each.is_far for each in found):
        subject = counted(far, "client is", "clients are")
        yield f"{subject} far from the model in most of the last {WINDOW} rounds"
    if unused := sum(each.is_never_used and not each.is_far for each in found):
        subject = counted(unused, "client was", "clients were")
        yield f"{subject} not used by the rule in the last {WINDOW} rounds"


def outlier_rows(state: TrainingState) -> Iterator[tuple[str, str]]:
    """Yield a line of the status for each outlier; a label is empty where the line above continues."""
    found, name = outliers(state), "outliers"
    for each in found[:MOST_ROWS]:
        yield name, f"{each.client.shown[:NAME_WIDTH]}: {_why(each)}"
        name = ""
    if len(found) > MOST_ROWS:
        yield "", f"and {len(found) - MOST_ROWS} more; the report shows the farthest"


def _why(each: Course) -> str:
    parts = []
    if each.is_far:
        times = f"{medians(each.typical)} times as" if isfinite(each.typical) else "too"
        than = " as the median client" if isfinite(each.typical) else ""
        rounds = f"far in {each.far} of {each.measured} recent rounds"
        parts.append(f"{times} far from the model{than} ({rounds})")
    if each.is_never_used:
        parts.append(f"not used by the rule in the last {WINDOW} rounds")
    return ", ".join(parts)
