"""In-memory fixes of defects of Flower 1.25.0, applied by `oneflower.flower.launch` when a process starts.

One module a subject; nothing that is installed is changed on disk. ``docs/flower-workarounds.md`` lists each
with what goes wrong without it and with the private names that it touches.
"""

from oneflower.flower.v1_25.workarounds import (
    assigned_partition,
    client_crash,
    clock,
    connections,
    delivery,
    held_calls,
    object_trees,
    objects,
    one_reply,
    own_programs,
    pauses,
    private_sockets,
    serverapp_end,
)
from oneflower.flower.v1_25.workarounds.registry import (
    Patch,
    Program,
    Purpose,
    Workaround,
    apply,
    ordered,
)

WORKAROUNDS: tuple[Workaround, ...] = (
    objects.ZERO_BYTES,
    objects.RACE,
    object_trees.WORKAROUND,
    objects.UNWANTED,
    delivery.RECALL,
    delivery.DROPPED,
    delivery.STALE,
    one_reply.WORKAROUND,
    clock.WORKAROUND,
    client_crash.WORKAROUND,
    assigned_partition.WORKAROUND,
    serverapp_end.EXIT_LOCK,
    serverapp_end.FAILURES,
    private_sockets.SUPERLINK,
    private_sockets.SUPERNODE,
    own_programs.SUPERLINK,
    own_programs.SUPERNODE,
    own_programs.SUPEREXEC,
    connections.WORKAROUND,
    held_calls.SUPERLINK,
    held_calls.SUPERNODE,
    pauses.SUPERNODE,
    pauses.SUPEREXEC,
    pauses.OBJECTS,
    pauses.RECONNECTION,
)
"""Safety first, then speed; the order in which they are applied is declared by their `after`."""

__all__ = ["WORKAROUNDS", "Patch", "Program", "Purpose", "Workaround", "apply", "ordered"]
