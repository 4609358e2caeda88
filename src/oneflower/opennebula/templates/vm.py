"""The virtual machine of each role: its size, disks, context and inputs, and its VM template."""

from collections.abc import Mapping
from enum import StrEnum

from oneflower.errors import SettingsError
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.roles import Machine
from oneflower.opennebula.templates import passthrough as gpus
from oneflower.opennebula.templates.passthrough import Passthrough
from oneflower.opennebula.templates.syntax import attribute, template, vector
from oneflower.settings import Variable, asked, user_input

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
    machine: Machine,
    *,
    all_inputs: bool = False,
    filesystems: Mapping[Share, str] | None = None,
    passthrough: Passthrough | None = None,
) -> str:
    """Return the text for ``onetemplate create``. The NIC is added at instantiation or by the service.

    Parameters
    ----------
    all_inputs
        Ask for every variable instead of those of the short form.
    filesystems
        Image (name or id) of type FILESYSTEM for each shared folder.
    passthrough
        The GPUs that a host hands to the VM.

    Raises
    ------
    SettingsError
        The machine does not use that folder or GPUs, or the image's name cannot be written in a template.
    """
    if passthrough and machine is not Machine.SUPERNODE:
        raise SettingsError(
            f"--gpu is not used by a {machine.label}, which trains nothing: expected it in the template of "
            "the SuperNode; remove it here"
        )
    gpu = passthrough is not None
    name = f"{machine.appliance}-gpu" if gpu else machine.appliance
    disk_mib = gpus.DISK_MIB if gpu else DISK_MIB
    return template(
        [
            attribute("NAME", name),
            attribute("DESCRIPTION", f"oneflower {machine.label}: federated learning with Flower"),
            *(_with_gpus(passthrough) if passthrough else _without_gpus()),
            vector("CPU_MODEL", {"MODEL": "host-passthrough"}),
            vector("DISK", {"IMAGE": name, "SIZE": str(disk_mib)}),
            *(vector("DISK", _shared_disk(machine, *each)) for each in (filesystems or {}).items()),
            vector("GRAPHICS", {"LISTEN": "127.0.0.1", "TYPE": "VNC"}),
            vector("CONTEXT", context(machine)),
            vector("USER_INPUTS", inputs(machine, all_inputs=all_inputs, gpu=gpu)),
            attribute("INPUTS_ORDER", inputs_order(machine, all_inputs=all_inputs, gpu=gpu)),
        ]
    )


def _without_gpus() -> list[str]:
    return [attribute("CPU", "2"), attribute("VCPU", "2"), attribute("MEMORY", str(MEMORY_MIB))]


def _with_gpus(passthrough: Passthrough) -> list[str]:
    """Return what differs: a pinned VM has as much CPU as VCPU, and OpenNebula refuses other products."""
    topology = {"PIN_POLICY": "THREAD", "SOCKETS": "1", "CORES": str(gpus.VCPUS), "THREADS": "1"}
    if passthrough.hugepage_mib:
        topology["HUGEPAGE_SIZE"] = str(passthrough.hugepage_mib)
    return [
        *(f"# {line}" for line in gpus.remarks(passthrough)),
        attribute("CPU", str(gpus.VCPUS)),
        attribute("VCPU", str(gpus.VCPUS)),
        attribute("MEMORY", str(gpus.MEMORY_MIB)),
        vector("TOPOLOGY", topology),
        vector("OS", {"ARCH": "x86_64", "FIRMWARE": passthrough.firmware, "MACHINE": "q35"}),
        *(vector("PCI", gpu.attributes) for gpu in passthrough.gpus),
        # A service without an input for it leaves this value, and an answer replaces it.
        attribute("FL_GPU_ENABLED", "YES"),
    ]


def context(machine: Machine) -> dict[str, str]:
    """Return the CONTEXT of a role, with ``FL_X: $FL_X`` for every variable that the machine reads.

    A value reaches a machine only through such a reference. Where nobody set the variable it arrives as an
    empty string, which means unset.
    """
    return {**FIXED_CONTEXT, **{variable.name: f"${variable.name}" for variable in machine.variables()}}


def inputs(machine: Machine, *, all_inputs: bool = False, gpu: bool = False) -> dict[str, str]:
    """Return the USER_INPUTS of a role by variable name: those of the short form, with GPUs, or all."""
    variables = asked(machine.variables(), all_inputs=all_inputs, gpu=gpu)
    return {variable.name: input_of(variable, gpu=gpu) for variable in variables}


def input_of(variable: Variable, *, gpu: bool) -> str:
    """Return the USER_INPUTS string of a variable; with GPUs a form offers to use them."""
    return user_input(variable, offered="YES" if gpu and variable.name == "FL_GPU_ENABLED" else None)


def inputs_order(machine: Machine, *, all_inputs: bool = False, gpu: bool = False) -> str:
    """Return INPUTS_ORDER; without it OpenNebula shows the inputs in alphabetical order."""
    return ",".join(inputs(machine, all_inputs=all_inputs, gpu=gpu))


def _shared_disk(machine: Machine, share: Share, image: str) -> dict[str, str]:
    """Return the DISK of a share; contextualization mounts it before the appliance's stages run."""
    if share is Share.CHECKPOINTS and machine is not Machine.SUPERLINK:
        raise SettingsError(
            f"--filesystem {share}={image} is not used by a {machine.label}, which writes no checkpoints: "
            "expected it in the template of the SuperLink; remove it here"
        )
    key = "IMAGE_ID" if image.isdecimal() else "IMAGE"
    return {key: image, "MOUNT_POINT": str(_MOUNT_POINTS[share])}
