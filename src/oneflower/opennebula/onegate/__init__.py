"""OneGate: how a machine tells OpenNebula about itself, and finds the others of its service."""

from oneflower.opennebula.onegate.client import Access, OneGate, OneGateError, access_from
from oneflower.opennebula.onegate.service import Part, SuperLink, find_superlink, own_part

__all__ = [
    "Access",
    "OneGate",
    "OneGateError",
    "Part",
    "SuperLink",
    "access_from",
    "find_superlink",
    "own_part",
]
