"""Make a forked child as fresh as a new process that has just imported the app, and quicker.

Random states: a new process takes them from the operating system, unless the app seeds at import. A fork
would inherit one state in every child, so that each message drew the same numbers.

Late imports: PyTorch imports 800 modules when the first optimizer is made, which takes 0.8 s in each new
process. What a child imports while it runs is imported in the zygote too, before the next message. Only
installed modules are taken, not the app's own, because what those do may depend on the message.
"""

import importlib
import json
import os
import random
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from types import ModuleType
from typing import Any

from oneflower.flower.calls.seeds import ends_with_its_message

INSTALLED = tuple(prefix + os.sep for prefix in (sys.prefix, sys.base_prefix))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RandomStates:
    """The global states of `random`, NumPy and PyTorch; None for those that are not imported."""

    python: Any
    numpy: Any
    torch: Any

    @classmethod
    def now(cls) -> "RandomStates":
        """Return the states of this process."""
        numpy, torch = sys.modules.get("numpy.random"), sys.modules.get("torch.random")
        return cls(
            python=random.getstate(),
            numpy=numpy and _comparable(numpy.get_state()),
            torch=torch and torch.get_rng_state().numpy().tobytes(),
        )

    def __eq__(self, other: object) -> bool:
        """Compare what is imported in both; importing alone is no change."""
        if not isinstance(other, RandomStates):
            return NotImplemented
        pairs = ((self.python, other.python), (self.numpy, other.numpy), (self.torch, other.torch))
        return all(one == two for one, two in pairs if one is not None and two is not None)

    __hash__ = None  # type: ignore[assignment] # equality as above is not transitive


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeding:
    """The states that a child starts with: the app's where importing it has changed them, None for new ones.

    It is made before a fork: to compare states in a child would copy the pages of a thousand numbers.
    """

    python: Any
    own_numpy: bool

    @classmethod
    def between(cls, before_import: RandomStates, after_import: RandomStates) -> "Seeding":
        """Compare the states before and after an app was imported."""
        return cls(
            python=None if after_import.python == before_import.python else after_import.python,
            own_numpy=after_import.numpy != before_import.numpy,
        )


def enter_child(seeding: Seeding) -> None:
    """Set the states in a forked child, which ends with its message: nothing is set back after it.

    PyTorch needs nothing: a new process starts from a constant, and so does the fork.
    """
    ends_with_its_message()
    if seeding.python is None:
        random.seed()
    else:  # Python itself reseeds `random` in a fork
        random.setstate(seeding.python)
    numpy = sys.modules.get("numpy.random")
    if numpy is not None and not seeding.own_numpy:
        numpy.seed()


class LateImports:
    """A list of modules in anonymous memory: a child writes it when it ends, its zygote reads it."""

    def __init__(self) -> None:
        self._known = len(sys.modules)
        self._descriptor = os.memfd_create("imports", os.MFD_CLOEXEC)

    def write(self) -> None:
        """In the child: write which installed modules it has imported, in their order.

        Those are the last ones. To look at each would copy the page that it is on, thousands with PyTorch.
        """
        newest_first = list(islice(reversed(sys.modules), max(0, len(sys.modules) - self._known)))
        late = [name for name in reversed(newest_first) if _is_installed(sys.modules.get(name))]
        os.pwrite(self._descriptor, json.dumps(late).encode(), 0)

    def read(self) -> list[str]:
        """In the zygote, when the child is gone: return what it wrote, and let go of the memory."""
        size = os.fstat(self._descriptor).st_size
        content = os.pread(self._descriptor, size, 0)
        os.close(self._descriptor)
        late: list[str] = json.loads(content) if content else []
        return [name for name in late if name not in sys.modules]


def import_all(names: Iterable[str]) -> bool:
    """Import modules as far as they can be; False where that has changed a random state.

    A new process would draw those numbers in the middle of its message.
    """
    before = RandomStates.now()
    for name in names:
        if name not in sys.modules:
            with suppress(Exception):  # it was imported in other circumstances; the child will do it again
                importlib.import_module(name)
    return RandomStates.now() == before


def _is_installed(module: ModuleType | None) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and file.startswith(INSTALLED)


def _comparable(state: Any) -> tuple[Any, ...]:
    """Return NumPy's state with its key as bytes: comparing arrays does not give one answer."""
    return tuple(part.tobytes() if hasattr(part, "tobytes") else part for part in state)
