"""What a workaround is, how it is guarded, and how those of one program are applied."""

import hashlib
import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from flwr.common.version import package_version

from oneflower.errors import ClusterError

FLOWER_VERSION = "1.25.0"
DIGITS = 12

Patch = Callable[[Any, str, Any], object]
"""``setattr``; a test passes pytest's ``monkeypatch.setattr``, which takes it back."""


class Program(StrEnum):
    """A program of Flower's that the launcher starts."""

    SUPERLINK = "superlink"
    SUPERNODE = "supernode"
    SUPEREXEC = "superexec"
    SERVERAPP = "serverapp"
    CLIENTAPP = "clientapp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workaround:
    """A guard around one defect of Flower.

    Parameters
    ----------
    name : str
        What the log, the errors and the documentation call it.
    defect : str
        What goes wrong in Flower without it, with file and line in ``flwr/``.
    programs : frozenset of Program
        The programs that need it.
    sources : mapping of str to mapping of str to str
        For each module the qualified names of the code that it changes or relies on, and the fingerprint
        (`fingerprint`) of the source that it was written for.
    apply : callable
        Puts it in place through the given ``setattr``.
    """

    name: str
    defect: str
    programs: frozenset[Program]
    sources: Mapping[str, Mapping[str, str]]
    apply: Callable[[Patch], object]


def fingerprint(module: str, name: str) -> str:
    """Return the first digits of the SHA-256 of a function's or class's source text, or of a string.

    Raises
    ------
    LookupError
        The module or the name in it does not exist.
    """
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise LookupError(f"{module}:{name}") from error
    text = found if isinstance(found, str) else inspect.getsource(found)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def problems(workaround: Workaround) -> Iterator[str]:
    """Say what of the installed Flower is not what the workaround was written for."""
    if package_version != FLOWER_VERSION:
        yield f"Flower {package_version} is installed, written for {FLOWER_VERSION}"
    for module, names in workaround.sources.items():
        for name, expected in names.items():
            try:
                given = fingerprint(module, name)
            except (LookupError, OSError, TypeError):
                yield f"{module}:{name} is not there, expected with source {expected}"
                continue
            if given != expected:
                yield f"{module}:{name} has source {given}, expected {expected}"


def apply(workarounds: Iterable[Workaround], program: Program, patch: Patch = setattr) -> list[str]:
    """Check every workaround of a program, then put them in place; return their names.

    Raises
    ------
    ClusterError
        Some were written for another Flower. None is applied then.
    """
    needed = [workaround for workaround in workarounds if program in workaround.programs]
    wrong = [f"  {found.name}: {text}" for found in needed for text in problems(found)]
    if wrong:
        text = "\n".join(wrong)
        raise ClusterError(
            f"the workarounds for the Flower {program} do not fit the Flower that is installed:\n{text}\n"
            f"Install flwr=={FLOWER_VERSION}, or set FL_FLOWER_WORKAROUNDS=NO to run Flower without them."
        )
    for workaround in needed:
        workaround.apply(patch)
    return [workaround.name for workaround in needed]
