"""Who of the clients trains, and who only makes up the number."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from oneflower.newest import Newest

FAILURES = 3
"""After this many failures in a row a client is not expected to train in the next attempt."""
LET_BACK_S = 65.0
"""So long the others are waited for without it; twice as long after each attempt that failed with it."""


@dataclass(slots=True)
class Members:
    """The clients of the newest round that passed, and how often in a row each other one has failed since.

    Without it one client that fails at once makes up the number of clients while another one restarts: the
    attempts of the round then follow each other in seconds, and all have failed before that one is back. But
    one that has failed may be well again, and the one that is away may never come back.
    """

    trained: set[int] = field(default_factory=set)
    failures: Newest[int, int] = field(default_factory=Newest)
    let_back: int = 0
    """In how many attempts since then one that only fails was asked in place of one that was away."""

    def attempted(self, asked: Iterable[int], valid: Iterable[int], *, passed: bool) -> None:
        """Note who was asked in an attempt of a round and whose updates were valid."""
        good, all_asked = set(valid), set(asked)
        self.let_back = 0 if passed else self.let_back + bool(self._failing(all_asked))
        for node_id in all_asked:
            self.failures[node_id] = 0 if node_id in good else self.failures.get(node_id, 0) + 1
        if passed:
            self.trained = good

    def no_substitutes(self, online: set[int], waited_s: float = 0.0) -> set[int]:
        """Return those that are online and only fail, while a client of the last round is away.

        They count once `waited_s`, the time that the round has waited for more clients, is long enough.
        """
        return self._failing(online) if waited_s < LET_BACK_S * 2.0 ** min(self.let_back, 20) else set()

    def _failing(self, present: set[int]) -> set[int]:
        if self.trained <= present:
            return set()
        return {node_id for node_id in present if self.failures.get(node_id, 0) >= FAILURES}
