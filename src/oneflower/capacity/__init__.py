"""What a training takes of memory and disk, by formulas, and what a machine has of both."""

from oneflower.capacity.needs import (
    SPARE_REPLIES,
    Load,
    checkpoints_bytes,
    database_bytes,
    growth_bytes,
    replies_bytes,
    serverapp_bytes,
    superlink_bytes,
    supernode_bytes,
    worth_streaming,
)
from oneflower.capacity.room import disk_free, memory_free, own_memory
from oneflower.capacity.rounds import (
    Federation,
    RoundCost,
    is_extrapolated,
    open_files,
    round_cost,
    superlink_memory_mb,
    through_sites,
)

__all__ = [
    "SPARE_REPLIES",
    "Federation",
    "Load",
    "RoundCost",
    "checkpoints_bytes",
    "database_bytes",
    "disk_free",
    "growth_bytes",
    "is_extrapolated",
    "memory_free",
    "open_files",
    "own_memory",
    "replies_bytes",
    "round_cost",
    "serverapp_bytes",
    "superlink_bytes",
    "superlink_memory_mb",
    "supernode_bytes",
    "through_sites",
    "worth_streaming",
]
