"""The SuperLink hands out the parts of the data: by who is in its service, and what it decided before."""

import logging
from collections.abc import Callable

from oneflower.errors import OneflowerError
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.appliance.stage import Stage
from oneflower.opennebula.onegate import PARTS_KEY, OneGate, part_claims, parts_word, supernode_ids
from oneflower.parts import Table, assign, read_table, table_text

log = logging.getLogger(__name__)

LOOK_EVERY_S = 10.0
LONGEST_DELAY_S = 60.0


class Parts:
    """Keeps the table of parts in step with the service; `told` is what OneGate is to know of it.

    Parameters
    ----------
    clock
        Seconds that only grow.
    jitter
        A factor around 1 for the waits.
    """

    def __init__(
        self, stage: Stage, clock: Callable[[], float], *, jitter: Callable[[], float] = lambda: 1.0
    ) -> None:
        self._stage = stage
        self._clock = clock
        self._jitter = jitter
        self._failures = 0
        self._next = clock()
        self.told: dict[str, str] = {}

    def look(self) -> dict[str, str]:
        """Write who has which part from now on, if it is time to look; return what OneGate is to know.

        What OneGate or the disk refuse is logged, and the last table holds.
        """
        onegate = self._stage.onegate
        if onegate is None or self._clock() < self._next:
            return self.told
        table = _kept(self._stage.layout)
        try:
            table = _assigned(self._stage.layout, onegate, table)
            self._failures = 0
        except OneflowerError as error:
            self._failures += 1
            log.log(logging.WARNING if table else logging.DEBUG, "parts not looked up reason=%s", error)
        delay_s = min(LOOK_EVERY_S * 2.0**self._failures, LONGEST_DELAY_S)
        self._next = self._clock() + delay_s * self._jitter()
        self.told = {PARTS_KEY: parts_word(table)} if table else {}
        return self.told


def _assigned(layout: Layout, onegate: OneGate, kept: Table) -> Table:
    service = onegate.service(patience_s=0.0)
    claims = part_claims(service)
    # One that is new has a part when it asks for it: a VM that boots for minutes, or never, has none. One
    # that had a part keeps it while it is in the service, whether it runs or not.
    members = supernode_ids(service) & {*kept, *claims}
    table = assign(kept, members, {vm_id: part for vm_id, part in claims.items() if part})
    if table != kept:
        layout.share(layout.parts, table_text(table))
        log.info("parts assigned members=%s before=%s", parts_word(table), parts_word(kept))
    return table


def _kept(layout: Layout) -> Table:
    """Return the last table; empty where there is none, or it is damaged."""
    try:
        return read_table(layout.parts.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
