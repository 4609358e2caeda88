"""Named guards around defects of Flower 1.25.0, applied in memory by `oneflower.flower.launch`.

One module a workaround; nothing that is installed is changed on disk. ``docs/flower-workarounds.md`` lists
them with the defect, the place in Flower's source, and what follows without.
"""

from oneflower.flower.v1_25.workarounds import (
    client_crash,
    exit_lock,
    handed_parts,
    held_pulls,
    kept_connections,
    lost_messages,
    object_backoff,
    object_race,
    own_programs,
    polls,
    reconnection,
    stale_nodes,
    steady_clock,
    told_failures,
    traffic,
    unwanted_objects,
)
from oneflower.flower.v1_25.workarounds.registry import (
    FLOWER_VERSION,
    Patch,
    Program,
    Workaround,
    apply,
    problems,
)

WORKAROUNDS: tuple[Workaround, ...] = (
    traffic.WORKAROUND,
    object_race.WORKAROUND,
    lost_messages.RECALL,
    lost_messages.DROPPED,
    kept_connections.WORKAROUND,
    held_pulls.SUPERLINK,
    stale_nodes.WORKAROUND,
    steady_clock.WORKAROUND,
    held_pulls.SUPERNODE,
    polls.SUPERNODE,
    reconnection.WORKAROUND,
    polls.SUPEREXEC,
    object_backoff.WORKAROUND,
    unwanted_objects.WORKAROUND,
    client_crash.WORKAROUND,
    handed_parts.WORKAROUND,
    exit_lock.WORKAROUND,
    told_failures.WORKAROUND,
    own_programs.SUPERLINK,
    own_programs.SUPERNODE,
    own_programs.SUPEREXEC,
)

__all__ = ["FLOWER_VERSION", "WORKAROUNDS", "Patch", "Program", "Workaround", "apply", "problems"]
