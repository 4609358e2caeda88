"""The control records of the messages that an app's own loop sends."""

import secrets
from dataclasses import dataclass, field

from oneflower.flower.api import RecordDict
from oneflower.flower.calls.control import AUTO, Control, with_control


@dataclass(slots=True, kw_only=True)
class Stamp:
    """Tells a client's process of each message which one it is, and from where its node may be resumed.

    The round is the message's number to its node: it rises with each message, the same in each run, also
    where threads send side by side. A node's state is that after its last recorded message then.
    """

    seed: int
    training: str
    proximal_term: str = AUTO
    session: str = field(default_factory=lambda: secrets.token_hex(16))
    _resumed_from: dict[int, int] = field(default_factory=dict)
    _recorded: dict[int, int] = field(default_factory=dict)

    def recorded(self, node: int, number: int) -> None:
        """Note that what came of a message to a node will be there after a crash."""
        self._recorded[node] = max(number, self._recorded.get(node, 0))

    def onto(self, content: RecordDict, node: int, number: int) -> RecordDict:
        """Return a content with the control record behind it; the first of a node says where it resumes."""
        last = self._recorded.get(node, 0)
        control = Control(
            training=self.training,
            session=self.session,
            round=number,
            seed=self.seed,
            resumed_from=self._resumed_from.setdefault(node, last),
            kept=tuple(sorted({last, self._resumed_from[node]})),
            proximal_term=self.proximal_term,
        )
        return with_control(content, control)
