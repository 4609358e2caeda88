"""What came of one attempt of a round."""

from dataclasses import dataclass

from oneflower.codes import RoundFailure


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One try of a round: why it failed, or None, and its valid updates beside how many were needed.

    Where too few clients were connected, ``needed`` is how many must be. ``silent`` counts those that were
    at work still when the time was over, ``too_large`` the replies that were larger than what is read,
    ``shared`` says which fault all clients have, if they have the same.
    ``blames_model``: more than half of the clients could not train from the model that they were sent.
    ``drawn`` are those that were asked, where others are connected that were not; else nobody.
    """

    reason: str | None
    valid: int
    needed: int
    code: RoundFailure | None = None
    silent: int = 0
    too_large: int = 0
    shared: str | None = None
    blames_model: bool = False
    drawn: frozenset[int] = frozenset()

    def confirms(self, before: "Try | None") -> bool:
        """Return whether this try says more than the one before: it asked others, or all there are."""
        return before is not None and not (self.drawn and self.drawn == before.drawn)
