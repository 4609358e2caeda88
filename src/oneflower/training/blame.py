"""Whose fault a failed round is, as far as the clients' words tell."""

import builtins
import re
from collections.abc import Sequence
from typing import Final

from oneflower.codes import LeftOutCode
from oneflower.flower.api import ErrorCode

# As Flower writes an exception of a ClientApp: <class 'TypeError'>:<'text'>.
_CLASS: Final = re.compile(r"<class '([\w.]+)'>")
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]+")
# What is down now may be up again: a data server, a network, a disk, a card whose memory others use.
_PASSING_WORDS: Final = ("Connection", "Timeout", "OutOfMemory", "HTTP", "URL", "Unavailable")
_NO_EVALUATE: Final = "No evaluate function registered"

# The client's app is at fault, not its machine or the way to it.
RAISED = frozenset(
    {
        ErrorCode.LOAD_CLIENT_APP_EXCEPTION,
        ErrorCode.CLIENT_APP_RAISED_EXCEPTION,
        ErrorCode.MOD_FAILED_PRECONDITION,
    }
)
# The reply has another form than the task asks for: what wrote it is the app.
MALFORMED = frozenset(
    {
        LeftOutCode.NUM_EXAMPLES,
        LeftOutCode.SHAPE,
        LeftOutCode.DTYPE,
        LeftOutCode.ARRAY_NAMES,
        LeftOutCode.METRICS,
        LeftOutCode.FORM,
    }
)
# The node is gone, or its answer was lost on the way.
UNAVAILABLE = frozenset(
    {
        ErrorCode.NODE_UNAVAILABLE,
        ErrorCode.MESSAGE_UNAVAILABLE,
        ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
    }
)


def shared_fault(raised: Sequence[str], malformed: Sequence[str], asked: int) -> str | None:
    """Say which fault every client that was asked has, if they have the same and it will not pass by itself.

    `raised` holds what their apps raised, `malformed` what is wrong with the form of their replies.
    """
    if raised and len(raised) >= asked:
        reasons = {_ADDRESS.sub("0x...", reason) for reason in raised}
        reason = next(iter(reasons))
        if len(reasons) == 1 and not passes(reason):
            return f"every client raised the same exception: {reason}"
    if malformed and len(malformed) >= asked and len(set(malformed)) == 1:
        return f"the replies of all clients have the same fault: {malformed[0]}"
    return None


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


def code_of(error: int) -> LeftOutCode:
    """Return why a client gave no update, by the code of Flower's error."""
    if error in RAISED or error == ErrorCode.CLIENT_APP_CRASHED:
        return LeftOutCode.APP_EXCEPTION
    return LeftOutCode.UNAVAILABLE if error in UNAVAILABLE else LeftOutCode.OTHER
