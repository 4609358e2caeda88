"""What readers get is rendered once for all of them, however many ask and however fast."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

# With each reader's request it may be rendered again at most this often, while nothing changes.
SAME_FOR_S: Final = 1.0
# A rendering is kept for ten times what it took, changes or not: so it takes a tenth of a processor at most.
SHARE: Final = 10.0

Content = str | bytes


@dataclass(slots=True)
class _Kept:
    content: Content
    state: object
    since: float
    cost_s: float


@dataclass(slots=True)
class Renderings:
    """The last rendering of each kind of answer. Use it in one event loop.

    Parameters
    ----------
    state
        Returns what differs as soon as there is something new to show.
    """

    state: Callable[[], object]
    clock: Callable[[], float] = time.monotonic
    _kept: dict[str, _Kept] = field(default_factory=dict)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def get(self, kind: str, render: Callable[[], Awaitable[Content]]) -> Content:
        """Return the rendering of a kind; one at a time is made, and the others wait for it."""
        async with self._locks.setdefault(kind, asyncio.Lock()):
            kept = self._kept.get(kind)
            if kept is None or not self._is_fresh(kept):
                state, began = self.state(), self.clock()
                content = await render()
                now = self.clock()
                kept = self._kept[kind] = _Kept(content, state, now, now - began)
            return kept.content

    def _is_fresh(self, kept: _Kept) -> bool:
        age_s = self.clock() - kept.since
        return age_s < kept.cost_s * SHARE or (age_s < SAME_FOR_S and kept.state == self.state())
