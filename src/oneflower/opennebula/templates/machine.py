"""What a virtual machine of each role is made of: size, disk, context."""

from oneflower.opennebula.roles import Machine
from oneflower.settings import asked, user_input

IMAGES = {Machine.SUPERLINK: "oneflower-superlink", Machine.SUPERNODE: "oneflower-supernode"}
DISK_MIB = 20480
MEMORY_MIB = 4096

# What oneflower needs of the context besides its own variables.
FIXED_CONTEXT = {
    "NETWORK": "YES",
    "TOKEN": "YES",
    "REPORT_READY": "YES",
    "SET_HOSTNAME": "$NAME",
    "SSH_PUBLIC_KEY": "$USER[SSH_PUBLIC_KEY]",
}


def references(machine: Machine) -> dict[str, str]:
    """Return ``FL_X: $FL_X`` of every variable: a value reaches a machine only where CONTEXT refers to it.

    A reference to something that nobody set arrives as an empty string, which means unset.
    """
    return {variable.name: f"${variable.name}" for variable in machine.variables()}


def context(machine: Machine) -> dict[str, str]:
    """Return the whole CONTEXT of a role."""
    return {**FIXED_CONTEXT, **references(machine)}


def inputs(machine: Machine, *, all_inputs: bool = False) -> dict[str, str]:
    """Return the USER_INPUTS of a role, by variable name: the short form's, or all."""
    variables = asked(machine.variables(), all_inputs=all_inputs)
    return {variable.name: user_input(variable) for variable in variables}


def inputs_order(machine: Machine, *, all_inputs: bool = False) -> str:
    """Return INPUTS_ORDER: OpenNebula would show the inputs in alphabetical order."""
    return ",".join(inputs(machine, all_inputs=all_inputs))
