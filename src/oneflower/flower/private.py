"""Declare private names of Flower: each with a fingerprint of the source that was read when it was used.

A module of a version's folder that imports, calls, reads or replaces anything of Flower's that is not public
says so in a `PrivateUse` or a `Workaround`. `tests/flower/test_private_use.py` finds what is not declared.
"""

import hashlib
import importlib
import inspect
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

from oneflower.errors import FlowerVersionError
from oneflower.flower.version import supported_version

DIGITS = 12

Sources = Mapping[str, Mapping[str, str]]
"""For each module of Flower the qualified names in it that are used, with the fingerprint of each."""


class Declaration(Protocol):
    """What a `PrivateUse` and a `Workaround` have in common."""

    @property
    def name(self) -> str:
        """What the log, the errors and the documentation call it."""

    @property
    def sources(self) -> Sources:
        """The private names and their fingerprints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateUse:
    """Private names without which a part of oneflower does not work.

    Parameters
    ----------
    name : str
        What the errors and the documentation call it.
    why : str
        What oneflower does with them, and why no public name will do.
    when_used : bool
        Whether the function that uses them calls `check`, because only some processes import these modules;
        `oneflower.flower.door` checks the others when it imports the module that declares them.
    """

    name: str
    why: str
    sources: Sources
    when_used: bool = False


def text_of(module: str, name: str) -> str:
    """Return the text that a fingerprint stands for.

    A function's, class's or property's source; the fields of a protocol message; the value of a constant;
    for any other object the lines of its module that mention it, such as a lock or an imported module.

    Raises
    ------
    LookupError
        The module or the name in it does not exist.
    """
    try:
        home = importlib.import_module(module)
        found: Any = home
        for part in name.split("."):
            found = inspect.getattr_static(found, part) if inspect.isclass(found) else getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise LookupError(f"{module}:{name}") from error
    if hasattr(found, "DESCRIPTOR"):
        return _fields(found.DESCRIPTOR)
    if isinstance(found, property):
        found = found.fget
    if isinstance(found, staticmethod | classmethod):
        found = found.__func__
    if isinstance(found, str | int | float | tuple | frozenset | None):
        return found if isinstance(found, str) else repr(found)
    if isinstance(found, ModuleType | logging.Logger) or not callable(found) or _is_alias(found, home):
        return _lines_with(home, name)
    return inspect.getsource(found)


def fingerprint(module: str, name: str) -> str:
    """Return the first digits of the SHA-256 of `text_of`."""
    return hashlib.sha256(text_of(module, name).encode()).hexdigest()[:DIGITS]


def problems(declared: Declaration) -> Iterator[str]:
    """Name every difference between the installed Flower and the one that a declaration was written for."""
    for module, names in declared.sources.items():
        for name, expected in names.items():
            try:
                given = fingerprint(module, name)
            except (LookupError, OSError, TypeError):
                yield f"{module}:{name} does not exist, expected with source {expected}"
                continue
            if given != expected:
                yield f"{module}:{name} has source {given}, expected {expected}"


def declared_in(module: ModuleType) -> list[PrivateUse]:
    """Return the declarations of a module: those that are names of it, alone or in a tuple."""
    values = [
        each for value in vars(module).values() for each in (value if isinstance(value, tuple) else [value])
    ]
    return [value for value in values if isinstance(value, PrivateUse)]


def check(*uses: PrivateUse) -> None:
    """Compare the fingerprints of private names with the installed Flower.

    Raises
    ------
    FlowerVersionError
        The installed Flower has the right version and another source than the released one.
    """
    wrong = [f"  {use.name}: {text}" for use in uses for text in problems(use)]
    if wrong:
        listed = "\n".join(wrong)
        raise FlowerVersionError(
            f"the installed Flower was changed: its source is not that of the release.\n{listed}\n"
            f"Install the released one: {sys.executable} -m pip install --force-reinstall --no-deps "
            f"flwr=={supported_version()}"
        )


def _fields(descriptor: Any) -> str:
    """Return number, name, type and message type of each field of a protocol message."""
    return "\n".join(
        f"{field.number} {field.name} {field.type} {field.message_type and field.message_type.full_name}"
        for field in descriptor.fields
    )


def _is_alias(found: Any, home: ModuleType) -> bool:
    """Whether a module holds another's function under a name of its own: the import is what it relies on."""
    return getattr(found, "__module__", home.__name__) != home.__name__ and not inspect.isclass(found)


def _lines_with(home: ModuleType, name: str) -> str:
    lines = inspect.getsource(home).splitlines()
    return "\n".join(line.strip() for line in lines if re.search(rf"\b{re.escape(name)}\b", line))
