"""Keep what OneGate shows of this machine equal to what is true, with few calls."""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from oneflower.opennebula.onegate import OneGateError
from oneflower.opennebula.onegate.encoding import encode

log = logging.getLogger(__name__)

EVERY_S = 10.0
COMPARE_EVERY_S = 60.0
LONGEST_DELAY_S = 60.0
FINAL_STATES = frozenset({"finished", "failed"})
# What a machine publishes; each is erased when it is offered no longer. Others' keys are left alone.
OWN_KEYS = frozenset(
    {
        "FL_CA_CERT",
        "FL_CHECKPOINT_ROUND",
        "FL_CLIENTS",
        "FL_ENDPOINT",
        "FL_ERROR",
        "FL_GPU",
        "FL_LOSS",
        "FL_NODE_KEY",
        "FL_PART",
        "FL_PARTS",
        "FL_ROUND",
        "FL_ROUNDS",
        "FL_STATE",
        "FL_STOPPED",
        "READY",
    }
)


class Gate(Protocol):
    """The calls of OneGate that a publisher makes; each raises an OneGateError where it fails."""

    def publish(self, values: Mapping[str, str], /) -> None:
        """Set values."""

    def erase(self, keys: Iterable[str], /) -> None:
        """Remove keys."""

    def template(self) -> dict[str, str]:
        """Return what OneGate shows of this VM."""


class Publisher:
    """Publish changes of values, at most once in ``every_s``; a final state goes out at once.

    OneGate may apply a call whose answer was lost, in any order with later ones, and an erase rewrites
    everything. So after a failure nothing is taken as known, and every ``compare_every_s`` what OneGate shows
    is read and put right.

    Parameters
    ----------
    clock
        Seconds that only grow.
    jitter
        A factor around 1 for the waits after failures: VMs that fail together do not return together.
    """

    def __init__(
        self,
        gate: Gate,
        clock: Callable[[], float],
        *,
        every_s: float = EVERY_S,
        compare_every_s: float = COMPARE_EVERY_S,
        jitter: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self._gate = gate
        self._clock = clock
        self._every_s = every_s
        self._compare_every_s = compare_every_s
        self._jitter = jitter
        self._shown: dict[str, str] = {}
        self._failures = 0
        self._next = self._next_look = clock()

    def offer(self, values: Mapping[str, str]) -> bool:
        """Publish what differs from what OneGate shows, if it is time; tell whether a call was needed."""
        values = {key: value for key, value in values.items() if value}
        wanted = {key: encode(key, value) for key, value in values.items()}
        now = self._clock()
        if now < self._next and not (self._is_news(wanted) and not self._failures):
            return False
        must_look = now >= self._next_look
        if not must_look and not any(self._differences(wanted)):
            return False
        try:
            needed = self._put_right(wanted, values, look=must_look)
        except OneGateError as error:
            self._failures += 1
            delay_s = min(self._every_s * 2.0 ** (self._failures - 1), LONGEST_DELAY_S)
            self._next, self._next_look = now + delay_s * self._jitter(), now
            log.warning("not published state=%s reason=%s", values.get("FL_STATE", "-"), error)
            return False
        self._failures = 0
        self._next = now + self._every_s
        if must_look:
            self._next_look = now + self._compare_every_s
        return needed

    def _put_right(self, wanted: Mapping[str, str], values: Mapping[str, str], *, look: bool) -> bool:
        if look:
            shown = self._gate.template()
            self._shown = {key: shown[key] for key in shown if key in OWN_KEYS or key in wanted}
        changed, gone = self._differences(wanted)
        if changed:
            self._gate.publish({key: values[key] for key in changed})
            self._shown |= {key: wanted[key] for key in changed}
        if gone:
            self._gate.erase(gone)
            self._shown = {key: text for key, text in self._shown.items() if key not in gone}
        return bool(changed or gone)

    def _differences(self, wanted: Mapping[str, str]) -> tuple[list[str], list[str]]:
        changed = [key for key, text in wanted.items() if self._shown.get(key) != text]
        return changed, sorted(self._shown.keys() - wanted.keys())

    def _is_news(self, wanted: Mapping[str, str]) -> bool:
        state = wanted.get("FL_STATE")
        return state in FINAL_STATES and self._shown.get("FL_STATE") != state
