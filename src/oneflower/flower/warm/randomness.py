"""Random states in a forked child, as they would be in a new process that has just imported the app.

A new process takes its state from the operating system, unless the app seeds at import. A fork would inherit
the one state in every child, so that each message drew the same numbers.
"""

import random
import sys
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomStates:
    """The global states of `random` and of NumPy; NumPy's is None where it is not imported."""

    python: Any
    numpy: Any

    @classmethod
    def now(cls) -> "RandomStates":
        """Return the states of this process."""
        numpy = sys.modules.get("numpy.random")
        return cls(python=random.getstate(), numpy=numpy and _hashable(numpy.get_state()))


def enter_child(before_import: RandomStates, after_import: RandomStates) -> None:
    """Set the states in a forked child: the app's where importing it changed them, else new ones.

    PyTorch needs nothing: a new process starts from a constant, and so does the fork.
    """
    if after_import.python == before_import.python:
        random.seed()
    else:  # Python itself reseeds `random` in a fork
        random.setstate(after_import.python)
    numpy = sys.modules.get("numpy.random")
    if numpy is not None and after_import.numpy == before_import.numpy:
        numpy.seed()


def _hashable(state: Any) -> tuple[Any, ...]:
    """Return NumPy's state with its key as bytes: comparing arrays does not give one answer."""
    return tuple(part.tobytes() if hasattr(part, "tobytes") else part for part in state)
