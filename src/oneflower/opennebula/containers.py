"""The containers of each machine: their names, images and user."""

from oneflower import __version__
from oneflower.opennebula.roles import Machine

UID = 49999
"""User and group of every process in the containers; the name that Flower's own images give it is `app`."""


def image(machine: Machine) -> str:
    """Return the image of a role, as it was built into the disk image."""
    return f"oneflower-{machine.value}:{__version__}"
