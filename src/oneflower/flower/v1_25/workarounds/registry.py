"""What a workaround is, in which order workarounds are applied, and how each is guarded."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from graphlib import TopologicalSorter
from typing import Any

from oneflower.errors import ClusterError
from oneflower.flower.private import Sources, problems
from oneflower.flower.version import DEPLOYED

Patch = Callable[[Any, str, Any], object]
"""``setattr``; a test passes pytest's ``monkeypatch.setattr``, which takes it back."""


class Program(StrEnum):
    """A program of Flower's that the launcher starts."""

    SUPERLINK = "superlink"
    SUPERNODE = "supernode"
    SUPEREXEC = "superexec"
    SERVERAPP = "serverapp"
    CLIENTAPP = "clientapp"


class Purpose(StrEnum):
    """What a workaround is for.

    SAFETY: without it work is lost, a wrong node is asked, a process waits for ever, or another user of the
    machine reaches an API. SPEED: without it the same happens later. FL_FLOWER_SPEEDUPS=NO leaves the second
    kind out.
    """

    SAFETY = "safety"
    SPEED = "speed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workaround:
    """An in-memory fix of one defect of Flower.

    Parameters
    ----------
    name : str
        What the log, the errors and the documentation call it.
    effect : str
        What goes wrong without it, for the operator's page.
    cause : str
        Where in ``flwr/`` that comes from, as file and line.
    programs : frozenset of Program
        The programs that need it.
    sources : mapping of str to mapping of str to str
        The private names that it replaces, calls or relies on, with their fingerprints.
    apply : callable
        Puts it in place through the given ``setattr``.
    after : tuple of str
        Names of workarounds that are applied before this one, where they are applied: one that replaces the
        same function then lies inside this one.
    """

    name: str
    purpose: Purpose
    effect: str
    cause: str
    programs: frozenset[Program]
    sources: Sources
    apply: Callable[[Patch], object]
    after: tuple[str, ...] = ()


def ordered(workarounds: Iterable[Workaround]) -> list[Workaround]:
    """Return workarounds in the order of their `after`; the order in which they are given does not matter.

    Raises
    ------
    graphlib.CycleError
        Some are declared to come after each other.
    """
    by_name = {found.name: found for found in workarounds}
    graph = {name: sorted(set(by_name[name].after) & by_name.keys()) for name in sorted(by_name)}
    return [by_name[name] for name in TopologicalSorter(graph).static_order()]


def apply(
    workarounds: Iterable[Workaround],
    program: Program,
    patch: Patch = setattr,
    *,
    speedups: bool = True,
) -> list[str]:
    """Check every workaround of a program, then put them in place; return their names in that order.

    Raises
    ------
    ClusterError
        Some were written for another source. None is applied then.
    """
    needed = ordered(
        found
        for found in workarounds
        if program in found.programs and (speedups or found.purpose is not Purpose.SPEED)
    )
    wrong = [f"  {found.name}: {text}" for found in needed for text in problems(found)]
    if wrong:
        text = "\n".join(wrong)
        raise ClusterError(
            f"the installed Flower was changed: these workarounds for the {program} do not fit its source.\n"
            f"{text}\nInstall flwr=={DEPLOYED} again, or set FL_FLOWER_WORKAROUNDS=NO to run without "
            f"workarounds."
        )
    for workaround in needed:
        workaround.apply(patch)
    return [workaround.name for workaround in needed]
