"""The virtual machine of each role: its size, disks, context and inputs, and its VM template."""

from collections.abc import Mapping
from enum import StrEnum

from oneflower.errors import SettingsError
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.roles import Machine
from oneflower.opennebula.templates.syntax import attribute, template, vector
from oneflower.settings import asked, user_input

DISK_MIB = 20480
MEMORY_MIB = 4096

# What oneflower needs in the CONTEXT besides its own variables.
FIXED_CONTEXT = {
    "NETWORK": "YES",
    "TOKEN": "YES",
    "REPORT_READY": "YES",
    "SET_HOSTNAME": "$NAME",
    "SSH_PUBLIC_KEY": "$USER[SSH_PUBLIC_KEY]",
}


class Share(StrEnum):
    """A folder of a machine that can be on a filesystem shared by the host (virtiofs, OpenNebula 7.4)."""

    CHECKPOINTS = "checkpoints"
    DATA = "data"
    MODELS = "models"


_MOUNT_POINTS = {
    Share.CHECKPOINTS: Layout().checkpoints,
    Share.DATA: Layout().data,
    Share.MODELS: Layout().models,
}


def vm_template(
    machine: Machine, *, all_inputs: bool = False, filesystems: Mapping[Share, str] | None = None
) -> str:
    """Return the text for ``onetemplate create``. The NIC is added at instantiation or by the service.

    Parameters
    ----------
    all_inputs
        Ask for every variable instead of those of the short form.
    filesystems
        Image (name or id) of type FILESYSTEM for each shared folder.

    Raises
    ------
    SettingsError
        The machine does not use that folder, or the image's name cannot be written in a template.
    """
    return template(
        [
            attribute("NAME", machine.appliance),
            attribute("DESCRIPTION", f"oneflower {machine.label}: federated learning with Flower"),
            attribute("CPU", "2"),
            attribute("VCPU", "2"),
            attribute("MEMORY", str(MEMORY_MIB)),
            vector("CPU_MODEL", {"MODEL": "host-passthrough"}),
            vector("DISK", {"IMAGE": machine.appliance, "SIZE": str(DISK_MIB)}),
            *(vector("DISK", _shared_disk(machine, *each)) for each in (filesystems or {}).items()),
            vector("GRAPHICS", {"LISTEN": "127.0.0.1", "TYPE": "VNC"}),
            vector("CONTEXT", context(machine)),
            vector("USER_INPUTS", inputs(machine, all_inputs=all_inputs)),
            attribute("INPUTS_ORDER", inputs_order(machine, all_inputs=all_inputs)),
        ]
    )


def context(machine: Machine) -> dict[str, str]:
    """Return the CONTEXT of a role, with ``FL_X: $FL_X`` for every variable that the machine reads.

    A value reaches a machine only through such a reference. Where nobody set the variable it arrives as an
    empty string, which means unset.
    """
    return {**FIXED_CONTEXT, **{variable.name: f"${variable.name}" for variable in machine.variables()}}


def inputs(machine: Machine, *, all_inputs: bool = False) -> dict[str, str]:
    """Return the USER_INPUTS of a role by variable name: those of the short form, or all."""
    variables = asked(machine.variables(), all_inputs=all_inputs)
    return {variable.name: user_input(variable) for variable in variables}


def inputs_order(machine: Machine, *, all_inputs: bool = False) -> str:
    """Return INPUTS_ORDER; without it OpenNebula shows the inputs in alphabetical order."""
    return ",".join(inputs(machine, all_inputs=all_inputs))


def _shared_disk(machine: Machine, share: Share, image: str) -> dict[str, str]:
    """Return the DISK of a share; contextualization mounts it before the appliance's stages run."""
    if share is Share.CHECKPOINTS and machine is not Machine.SUPERLINK:
        raise SettingsError(
            f"--filesystem {share}={image} is not used by a {machine.label}, which writes no checkpoints: "
            "expected it in the template of the SuperLink; remove it here"
        )
    key = "IMAGE_ID" if image.isdecimal() else "IMAGE"
    return {key: image, "MOUNT_POINT": str(_MOUNT_POINTS[share])}
