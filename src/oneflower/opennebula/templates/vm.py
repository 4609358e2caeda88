"""The VM template of a role, for ``onetemplate create``."""

from collections.abc import Mapping

from oneflower.opennebula.roles import Machine
from oneflower.opennebula.templates import machine as machines
from oneflower.opennebula.templates.filesystems import Share, disk
from oneflower.opennebula.templates.syntax import attribute, template, vector


def vm_template(
    machine: Machine, *, all_inputs: bool = False, filesystems: Mapping[Share, str] | None = None
) -> str:
    """Return the template's text. A NIC is given at instantiation, or by the service.

    Parameters
    ----------
    all_inputs
        Ask for every variable, instead of the short form's.
    filesystems
        Image (name or id) of type FILESYSTEM for each shared folder.

    Raises
    ------
    SettingsError
        A share that this machine has no use for, or a name of an image that no template can hold.
    """
    return template(
        [
            attribute("NAME", machines.IMAGES[machine]),
            attribute("DESCRIPTION", f"oneflower {machine.label}: federated learning with Flower"),
            attribute("CPU", "2"),
            attribute("VCPU", "2"),
            attribute("MEMORY", str(machines.MEMORY_MIB)),
            vector("CPU_MODEL", {"MODEL": "host-passthrough"}),
            vector("DISK", {"IMAGE": machines.IMAGES[machine], "SIZE": str(machines.DISK_MIB)}),
            *(vector("DISK", disk(machine, *each)) for each in (filesystems or {}).items()),
            vector("GRAPHICS", {"LISTEN": "127.0.0.1", "TYPE": "VNC"}),
            vector("CONTEXT", machines.context(machine)),
            vector("USER_INPUTS", machines.inputs(machine, all_inputs=all_inputs)),
            attribute("INPUTS_ORDER", machines.inputs_order(machine, all_inputs=all_inputs)),
        ]
    )
