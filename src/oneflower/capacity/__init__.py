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
)
from oneflower.capacity.room import disk_free, memory_free, own_memory

__all__ = [
    "SPARE_REPLIES",
    "Load",
    "checkpoints_bytes",
    "database_bytes",
    "disk_free",
    "growth_bytes",
    "memory_free",
    "own_memory",
    "replies_bytes",
    "serverapp_bytes",
    "superlink_bytes",
    "supernode_bytes",
]
