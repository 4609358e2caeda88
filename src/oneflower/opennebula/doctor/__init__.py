"""Find out what is wrong with a machine on OpenNebula and how to fix it, without changing the machine."""

from oneflower.opennebula.doctor.bundle import refuse_existing, write_bundle
from oneflower.opennebula.doctor.contents import collect
from oneflower.opennebula.doctor.find import Found, find_context, find_machine
from oneflower.opennebula.doctor.host import Host
from oneflower.opennebula.doctor.masking import Masker, mask_finding, masker_of
from oneflower.opennebula.doctor.run import examine

__all__ = [
    "Found",
    "Host",
    "Masker",
    "collect",
    "examine",
    "find_context",
    "find_machine",
    "mask_finding",
    "masker_of",
    "refuse_existing",
    "write_bundle",
]
