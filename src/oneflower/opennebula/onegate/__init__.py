"""OneGate: how a machine tells OpenNebula about itself, and finds the others of its service."""

from oneflower.opennebula.onegate.access import Access, access_from
from oneflower.opennebula.onegate.client import OneGate, OneGateError, Waiting, jitter
from oneflower.opennebula.onegate.service import Part, SuperLink, find_superlink, own_part

__all__ = [
    "Access",
    "OneGate",
    "OneGateError",
    "Part",
    "SuperLink",
    "Waiting",
    "access_from",
    "find_superlink",
    "jitter",
    "own_part",
]
