"""What the clients have shown of their app in the marks of their replies, until it is remarked on."""

from dataclasses import dataclass, field
from typing import Final

from oneflower.flower.client_mark import MOST_STATE, NOTHING, ClientMark

MOST_PARTITIONS: Final = 1024
"""Of so many partitions it is remembered that they have state."""


@dataclass(slots=True, kw_only=True)
class Shown:
    """What the marks of one session say together.

    Attributes
    ----------
    state
        The records that clients keep in their `context.state`.
    partitions
        Whose state is kept on the client's disk.
    unkept
        Whether the state of some client ends with the run.
    lost
        By client: why it has not got the state that it should have.
    proximal
        Whose FedProx's term was: "added", "app", "unseen"; `left_out` are shapes that have none.
    """

    state: set[str] = field(default_factory=set)
    partitions: set[int] = field(default_factory=set)
    unkept: bool = False
    lost: dict[str, str] = field(default_factory=dict)
    proximal: set[str] = field(default_factory=set)
    left_out: str = ""
    _expected: set[int] = field(default_factory=set)

    def expect(self, partitions: set[int]) -> None:
        """Take note of the partitions whose first reply after a resume must be made with a state."""
        self._expected = set(partitions)

    def take(self, client: str, mark: ClientMark) -> None:
        """Take up one mark; names and texts are whatever the client sends."""
        self.state.update(mark.state[: MOST_STATE - len(self.state)])
        self.unkept |= bool(mark.state) and not mark.keeps_state
        if mark.state_problem:
            self.lost[client] = mark.state_problem
        if mark.partition in self._expected:
            self._expected.discard(mark.partition)
            if not mark.keeps_state or mark.state_of == NOTHING:
                self.lost.setdefault(client, f"it has no state of partition {mark.partition}")
        has_room = len(self.partitions) < MOST_PARTITIONS
        if mark.state and mark.keeps_state and mark.partition is not None and has_room:
            self.partitions.add(mark.partition)
        if mark.proximal:
            self.proximal.add(mark.proximal)
            self.left_out = self.left_out or mark.left_out
