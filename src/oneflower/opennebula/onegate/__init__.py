"""OneGate, through which a machine publishes its state and finds the other machines of its service."""

from oneflower.opennebula.onegate.access import Access, access_from
from oneflower.opennebula.onegate.client import OneGate, OneGateError, RetryPolicy, jitter
from oneflower.opennebula.onegate.service import (
    NO_PART,
    NODE_KEY,
    PART_KEY,
    PARTS_KEY,
    SuperLink,
    find_superlink,
    has_supernodes,
    key_claims,
    own_part,
    part_claims,
    part_word,
    parts_word,
    read_part,
    supernode_ids,
    vm_name,
)

__all__ = [
    "NODE_KEY",
    "NO_PART",
    "PARTS_KEY",
    "PART_KEY",
    "Access",
    "OneGate",
    "OneGateError",
    "RetryPolicy",
    "SuperLink",
    "access_from",
    "find_superlink",
    "has_supernodes",
    "jitter",
    "key_claims",
    "own_part",
    "part_claims",
    "part_word",
    "parts_word",
    "read_part",
    "supernode_ids",
    "vm_name",
]
