"""Who of the clients trains, and who only makes up the number."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

FAILURES = 3
"""After this many failures in a row a client is not expected to train in the next attempt."""


@dataclass(slots=True)
class Members:
    """The clients of the newest round that passed, and how often in a row each other one has failed since.

    Without it one client that fails at once makes up the number of clients while another one restarts: the
    attempts of the round then follow each other in seconds, and all have failed before that one is back.
    """

    trained: set[int] = field(default_factory=set)
    failures: Counter[int] = field(default_factory=Counter)

    def attempted(self, asked: Iterable[int], valid: Iterable[int], *, passed: bool) -> None:
        """Note who was asked in an attempt of a round and whose updates were valid."""
        good = set(valid)
        for node_id in asked:
            self.failures[node_id] = 0 if node_id in good else self.failures[node_id] + 1
        if passed:
            self.trained = good

    def no_substitutes(self, online: set[int]) -> set[int]:
        """Return those that are online and only fail, while a client of the last round is away."""
        if self.trained <= online:
            return set()
        return {node_id for node_id in online if self.failures[node_id] >= FAILURES}
