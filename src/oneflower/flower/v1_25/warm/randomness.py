"""Random states in a forked child, as they would be in a new process that has just imported the app.

A new process takes its state from the operating system, unless the app seeds at import. A fork would inherit
the one state in every child, so that each message drew the same numbers.
"""

import random
import sys
from dataclasses import dataclass
from typing import Any


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


def _comparable(state: Any) -> tuple[Any, ...]:
    """Return NumPy's state with its key as bytes: comparing arrays does not give one answer."""
    return tuple(part.tobytes() if hasattr(part, "tobytes") else part for part in state)
