"""The SuperLink follows its service: SuperNodes' keys are pinned, and partitions of the data assigned."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from oneflower.errors import OneflowerError
from oneflower.opennebula.appliance.identity import follow_keys, read_pins
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.appliance.stage import Stage
from oneflower.opennebula.onegate import PARTS_KEY, part_claims, parts_word, supernode_ids
from oneflower.parts import Table, assign, read_table, table_text

log = logging.getLogger(__name__)

UPDATE_EVERY_S = 10.0
LONGEST_DELAY_S = 60.0


class PartitionTable:
    """Keep the table of partitions in step with the service; ``values`` is what to publish of it.

    Parameters
    ----------
    clock
        Monotonic seconds.
    jitter
        A factor around 1 for the delays.
    """

    def __init__(
        self, stage: Stage, clock: Callable[[], float], *, jitter: Callable[[], float] = lambda: 1.0
    ) -> None:
        self._stage = stage
        self._clock = clock
        self._jitter = jitter
        self._failures = 0
        self._next = clock()
        self.values: dict[str, str] = {}
        self.pins = read_pins(stage.layout)

    def update(self) -> dict[str, str]:
        """Assign partitions if an update is due, and return the values to publish.

        An error of OneGate or of the disk is logged, and the last table stays valid.
        """
        onegate = self._stage.onegate
        if onegate is None or self._clock() < self._next:
            return self.values
        table = _read(self._stage.layout)
        try:
            service = onegate.service(patience_s=0.0)
            # A SuperNode gets its partition once its key may join.
            self.pins = follow_keys(self._stage.layout, service)
            table = _assign(self._stage.layout, service, table)
            self._failures = 0
        except OneflowerError as error:
            self._failures += 1
            log.log(logging.WARNING if table else logging.DEBUG, "partitions not updated reason=%s", error)
        delay_s = min(UPDATE_EVERY_S * 2.0**self._failures, LONGEST_DELAY_S)
        self._next = self._clock() + delay_s * self._jitter()
        self.values = {PARTS_KEY: parts_word(table)} if table else {}
        return self.values


def _assign(layout: Layout, service: Mapping[str, Any], kept: Table) -> Table:
    claims = part_claims(service)
    # A new SuperNode gets a partition when it asks for one: a VM may boot for minutes, or never finish. A
    # SuperNode with a partition keeps it while its VM is in the service, running or not.
    members = supernode_ids(service) & {*kept, *claims}
    table = assign(kept, members, {vm_id: part for vm_id, part in claims.items() if part})
    if table != kept:
        layout.write_readable(layout.parts, table_text(table))
        log.info("partitions assigned members=%s before=%s", parts_word(table), parts_word(kept))
    return table


def _read(layout: Layout) -> Table:
    """Return the last table; empty if there is none or it is damaged."""
    try:
        return read_table(layout.parts.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
