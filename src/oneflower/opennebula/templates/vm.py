"""The VM template of a role, for ``onetemplate create``."""

from oneflower.opennebula.roles import Machine
from oneflower.opennebula.templates import machine as machines
from oneflower.opennebula.templates.syntax import attribute, template, vector


def vm_template(machine: Machine) -> str:
    """Return the template's text. A NIC is given at instantiation, or by the service."""
    return template(
        [
            attribute("NAME", machines.IMAGES[machine]),
            attribute("DESCRIPTION", f"oneflower {machine.label}: federated learning with Flower"),
            attribute("CPU", "2"),
            attribute("VCPU", "2"),
            attribute("MEMORY", str(machines.MEMORY_MIB)),
            vector("CPU_MODEL", {"MODEL": "host-passthrough"}),
            vector("DISK", {"IMAGE": machines.IMAGES[machine], "SIZE": str(machines.DISK_MIB)}),
            vector("GRAPHICS", {"LISTEN": "127.0.0.1", "TYPE": "VNC"}),
            vector("CONTEXT", machines.context(machine)),
            vector("USER_INPUTS", machines.inputs(machine)),
            attribute("INPUTS_ORDER", machines.inputs_order(machine)),
        ]
    )
