"""In-memory fixes of defects of Flower 1.25.0, applied by `oneflower.flower.launch` when a process starts.

One module a subject; nothing that is installed is changed on disk. ``docs/flower-workarounds.md`` lists each
with what goes wrong without it and with the private names that it touches.
"""

from oneflower.flower.v1_25.fleet_limits import MB, Limits
from oneflower.flower.v1_25.workarounds import (
    assigned_partition,
    bundled_answers,
    bundled_calls,
    busy_superlink,
    channel_watch,
    client_crash,
    clock,
    connections,
    delivery,
    executor_calls,
    fleet_calls,
    held_calls,
    held_replies,
    node_limits,
    object_trees,
    objects,
    one_reply,
    own_programs,
    pauses,
    private_sockets,
    quick_arrays,
    reply_limits,
    serverapp_end,
    signatures,
    takeover,
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
    fleet_calls.WORKAROUND,
    node_limits.WORKAROUND,
    reply_limits.WORKAROUND,
    one_reply.WORKAROUND,
    clock.WORKAROUND,
    takeover.WORKAROUND,
    busy_superlink.WORKAROUND,
    client_crash.WORKAROUND,
    assigned_partition.WORKAROUND,
    channel_watch.SUPERNODE,
    channel_watch.SUPEREXEC,
    channel_watch.SERVERAPP,
    channel_watch.CLIENTAPP,
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
    held_replies.WORKAROUND,
    signatures.SUPERNODE,
    signatures.SUPERLINK,
    pauses.SUPERNODE,
    pauses.SUPEREXEC,
    pauses.OBJECTS,
    pauses.RECONNECTION,
    quick_arrays.WORKAROUND,
    bundled_answers.WORKAROUND,
    bundled_calls.SUPERNODE,
    bundled_calls.SERVERAPP,
    executor_calls.WORKAROUND,
)
"""Safety first, then speed; the order in which they are applied is declared by their `after`."""


def configured(*, max_update_mb: int = 0, known_keys: bool = True) -> tuple[Workaround, ...]:
    """Return all workarounds as a process needs them.

    Parameters
    ----------
    max_update_mb : int
        The operator's limit of a reply; 0: the limit follows from the model.
    known_keys : bool
        Whether the SuperLink hears SuperNodes only whose key it knows; a key is a member then.
    """
    changed = (
        reply_limits.within(Limits(max_update_bytes=max_update_mb * MB)),
        fleet_calls.hearing(known_keys=known_keys),
        takeover.reporting(copies=known_keys),
    )
    by_name = {each.name: each for each in changed}
    return tuple(by_name.get(each.name, each) for each in WORKAROUNDS)


__all__ = ["WORKAROUNDS", "Patch", "Program", "Purpose", "Workaround", "apply", "configured", "ordered"]
