"""Tell OneGate what has changed: not too often, and a failure is made up for later."""

import logging
from collections.abc import Callable, Mapping

from oneflower.opennebula.onegate import OneGateError

log = logging.getLogger(__name__)

EVERY_S = 10.0
FINAL_STATES = frozenset({"finished", "failed"})


class Publisher:
    """Publish changes of values, at most once in ``every_s``; a final state goes out at once.

    Parameters
    ----------
    publish, erase
        The calls of OneGate; an OneGateError is logged, and the same values are published later.
    clock
        Seconds that only grow.
    """

    def __init__(
        self,
        publish: Callable[[Mapping[str, str]], None],
        erase: Callable[[list[str]], None],
        clock: Callable[[], float],
        *,
        every_s: float = EVERY_S,
    ) -> None:
        self._publish = publish
        self._erase = erase
        self._clock = clock
        self._every_s = every_s
        self._told: dict[str, str] = {}
        self._next = clock()

    def offer(self, values: Mapping[str, str]) -> bool:
        """Publish what differs from what OneGate knows, if it is time; tell whether it was."""
        changed = {key: value for key, value in values.items() if self._told.get(key) != value}
        gone = sorted(self._told.keys() - values.keys())
        is_final = changed.get("FL_STATE") in FINAL_STATES
        now = self._clock()
        if not (changed or gone) or (now < self._next and not is_final):
            return False
        self._next = now + self._every_s
        try:
            if changed:
                self._publish(changed)
            if gone:
                self._erase(gone)
        except OneGateError as error:
            log.warning("not published keys=%s reason=%s", ",".join(changed), error)
            return False
        self._told = dict(values)
        return True
