"""Folders of a host that OpenNebula 7.4 shares with a VM: disks of type FILESYSTEM (virtiofs)."""

from enum import StrEnum

from oneflower.errors import SettingsError
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.roles import Machine


class Share(StrEnum):
    """A folder of a machine that may lie on a share."""

    CHECKPOINTS = "checkpoints"
    DATA = "data"
    MODELS = "models"


_MOUNT_POINTS = {
    Share.CHECKPOINTS: Layout().checkpoints,
    Share.DATA: Layout().data,
    Share.MODELS: Layout().models,
}


def disk(machine: Machine, share: Share, image: str) -> dict[str, str]:
    """Return the DISK of a share; contextualization mounts it before the stages of the appliance run.

    Raises
    ------
    SettingsError
        The machine has no use for the share.
    """
    if share is Share.CHECKPOINTS and machine is not Machine.SUPERLINK:
        raise SettingsError(
            f"--filesystem {share}={image} is for a {machine.label}, which writes no checkpoints: expected "
            "it in the template of the SuperLink; leave it out here"
        )
    key = "IMAGE_ID" if image.isdecimal() else "IMAGE"
    return {key: image, "MOUNT_POINT": str(_MOUNT_POINTS[share])}
