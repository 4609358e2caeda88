"""How much a SuperNode may send to the SuperLink: what each limit is, and how it follows from the model."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from oneflower.flower.refusals import larger_replies
from oneflower.foreign_text import shown

MB: Final = 1_000_000
MAX_REQUEST_BYTES: Final = 16 * 1024 * 1024
"""Flower sends arrays in chunks of 5 MB (constant.py:147); a request holds one."""
MAX_HEAD_BYTES: Final = 64 * 1024
"""The head of a reply is its metadata: a few hundred bytes."""
MAX_DEPTH: Final = 8
"""A message has a record dict with records of arrays of chunks: five levels."""
MAX_REASON: Final = 4_096

REPLY_FACTOR: Final = 2
REPLY_EXTRA_BYTES: Final = 64 * MB
ID_FACTOR: Final = 4
EXTRA_IDS: Final = 1_024
SHARE_FACTOR: Final = 2
SHARE_EXTRA_BYTES: Final = MB
RUN_POOL_BYTES: Final = 1_024 * MB
REPLIES_A_NODE: Final = 2

_OBJECT_ID: Final = re.compile(r"[0-9a-f]{64}")


class RefusedError(Exception):
    """A request is against a limit or a rule; its text is what the SuperNode is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of replies.

    Parameters
    ----------
    max_update_bytes : int
        FL_MAX_UPDATE_MB in bytes; 0: the limit follows from the messages that the ServerApp sent.
    """

    max_update_bytes: int = 0

    @property
    def remedy(self) -> str:
        """What to do about a reply that is too large and should not be."""
        return larger_replies(self.max_update_bytes)

    def reply_bytes(self, largest: int) -> int:
        """Return how many bytes one reply may have; ``largest`` is the size of the run's largest message."""
        return self.max_update_bytes or REPLY_FACTOR * largest + REPLY_EXTRA_BYTES

    def share_bytes(self, largest: int) -> int:
        """Return how many of them every reply may have; what is above comes from the pool of the run.

        So no number of large replies takes the room of an ordinary one.
        """
        return self.max_update_bytes or SHARE_FACTOR * largest + SHARE_EXTRA_BYTES

    def node_bytes(self, largest: int) -> int:
        """Return how many bytes the replies of one node may have that the ServerApp has not taken yet."""
        return REPLIES_A_NODE * self.reply_bytes(largest)

    def ids(self, of_message: int) -> int:
        """Return how many objects a reply may have; ``of_message`` is the number in the largest message."""
        return ID_FACTOR * of_message + EXTRA_IDS + self.max_update_bytes // MB


def is_object_id(text: str) -> bool:
    """Whether a text is a SHA-256 as Flower writes it."""
    return _OBJECT_ID.fullmatch(text) is not None


def ids_of(tree: Any, most: int) -> list[str]:
    """Return the ids in an object tree.

    Raises
    ------
    RefusedError
        It has more than ``most``, is deeper than `MAX_DEPTH`, names a child twice, or one of them is no
        SHA-256. Flower would store some of a tree with a child twice, and fail then.
    """
    found = []
    for depth, node in _walk(tree):
        object_id = node.object_id
        found.append(object_id)
        if len({child.object_id for child in node.children}) < len(node.children):
            raise RefusedError("an object of the reply names a child twice")
        if len(found) > most:
            raise RefusedError(f"the reply has more than {most} objects, which is the limit for this message")
        if depth > MAX_DEPTH:
            raise RefusedError(f"the reply's objects are nested more than {MAX_DEPTH} deep")
        if not is_object_id(object_id):
            raise RefusedError("an object id is not a SHA-256 in lower-case hexadecimal digits")
    return found


def _walk(tree: Any) -> Iterator[tuple[int, Any]]:
    pending = [(1, tree)]
    while pending:
        depth, each = pending.pop()
        yield depth, each
        pending += [(depth + 1, child) for child in each.children]


def short_reason(reason: str) -> str:
    """Return the reason of an error as one printable line of a reasonable length."""
    return shown(reason, MAX_REASON)
