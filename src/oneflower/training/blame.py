"""Whose fault a failed round is, as far as the clients' words tell."""

import builtins
import re
from collections.abc import Sequence
from typing import Final

# As Flower writes an exception of a ClientApp: <class 'TypeError'>:<'text'>.
_CLASS: Final = re.compile(r"<class '([\w.]+)'>")
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]+")
# What is down now may be up again: a data server, a network, a disk, a card whose memory others use.
_PASSING_WORDS: Final = ("Connection", "Timeout", "OutOfMemory", "HTTP", "URL", "Unavailable")
_NO_EVALUATE: Final = "No evaluate function registered"


def shared_exception(raised: Sequence[str], asked: int) -> str | None:
    """Return the exception that every client that was asked has raised, if it will not pass by itself."""
    if not raised or len(raised) < asked:
        return None
    reasons = {_ADDRESS.sub("0x...", reason) for reason in raised}
    reason = next(iter(reasons))
    return reason if len(reasons) == 1 and not passes(reason) else None


def lacks_evaluate(raised: Sequence[str]) -> bool:
    """Tell whether a client has said that its app has no function for the evaluation; then none has."""
    return any(_NO_EVALUATE in reason for reason in raised)


def passes(reason: str) -> bool:
    """Tell whether an exception is one that may pass by itself: of a network, a disk, a full memory."""
    found = _CLASS.search(reason)
    if found is None:
        return False
    name = found[1].rpartition(".")[2]
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, OSError | MemoryError):
        return True
    return any(word in name for word in _PASSING_WORDS)
