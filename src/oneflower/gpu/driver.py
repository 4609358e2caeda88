"""The second layer: NVIDIA's driver, and whether the devices that the operator named are there."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from oneflower.foreign_text import shown
from oneflower.gpu.found import Failed, Gpu, Layer
from oneflower.gpu.pci import PciGpu, is_there
from oneflower.gpu.programs import Ran, Run
from oneflower.gpu.smi import LIST, QUERY, SMI, Row, mig_devices, rows

VERSION_FILE: Final = "proc/driver/nvidia/version"
CONTROL_NODES: Final = ("dev/nvidiactl", "dev/nvidia-uvm")
MAKE_NODES: Final = ("nvidia-modprobe", "-c=0", "-u")
SMI_TIMEOUT_S: Final = 20.0
SECTION: Final = "docs/gpu.md, the driver in the image"
_LONGEST: Final = 300

# What nvidia-smi prints -> what that means, and how to mend it.
_KNOWN_ERRORS: Final = (
    (
        "driver/library version mismatch",
        "the driver in the kernel and its libraries have different versions",
        "reboot the VM, which loads the installed module; if it stays, install module and libraries together",
    ),
    (
        "communicate with the nvidia driver",
        "nvidia-smi cannot communicate with the driver",
        "`modprobe nvidia`; see `dmesg | grep -i nvrm`: often a kernel without the module, or Secure Boot",
    ),
    (
        "no devices were found",
        "the driver finds no GPU that works",
        "see `dmesg | grep -i nvrm`: often a VM without UEFI and q35, or a GPU the host uses: docs/gpu.md",
    ),
    (
        "gpu is lost",
        "a GPU has fallen off the bus",
        "power the VM off and on again; if it stays, reset the host, and look for XID 79 in `dmesg`",
    ),
    (
        "unable to determine the device handle",
        "a GPU does not respond to the driver",
        "power the VM off and on again; `dmesg | grep -i xid` has the reason",
    ),
    (
        "insufficient permissions",
        "nvidia-smi may not open the devices",
        "run it as root, outside a sandbox that hides /dev/nvidia*",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """The driver's version, and the GPUs that ClientApps may use."""

    version: str
    gpus: tuple[Gpu, ...]


def check_driver(root: Path, run: Run, pci: Sequence[PciGpu], wanted: Sequence[str]) -> Driver | Failed:
    """Return the driver and the GPUs that were asked for; `wanted` is empty for all."""
    if not is_there(root / VERSION_FILE):
        return _not_loaded(pci)
    found = _query(run)
    if isinstance(found, Failed):
        return found
    missing = [f"/{node}" for node in CONTROL_NODES if not is_there(root / node)]
    if missing:
        return _failed(
            f"the module is loaded, but {' and '.join(missing)} is not there",
            f"`{' '.join(MAKE_NODES)}` as root makes the device nodes; `modprobe nvidia-uvm` if it cannot",
        )
    gpus = _selected(found, _mig(run, found, wanted), wanted)
    return gpus if isinstance(gpus, Failed) else Driver(version=found[0].driver, gpus=gpus)


def make_device_nodes(root: Path, run: Run) -> None:
    """Make the nodes that CUDA needs where a loaded driver has not: nobody may have used a GPU yet."""
    if is_there(root / VERSION_FILE) and not all(is_there(root / node) for node in CONTROL_NODES):
        _ended(run, MAKE_NODES)


def _not_loaded(pci: Sequence[PciGpu]) -> Failed:
    bound = sorted({gpu.driver for gpu in pci if gpu.driver and gpu.driver != "nvidia"})
    if "nouveau" in bound:
        return _failed(
            "the driver Nouveau is bound to the GPU instead of NVIDIA's",
            "write `blacklist nouveau` and `options nouveau modeset=0` to /etc/modprobe.d/nouveau.conf, run "
            "`update-initramfs -u` and reboot; an image built with GPU=YES has it",
        )
    holder = f"; {shown(bound[0], 40)} is bound to the GPU" if bound else ""
    return _failed(
        f"NVIDIA's kernel module is not loaded (/{VERSION_FILE} is missing{holder})",
        "use a disk image that was built with GPU=YES. If the driver is installed: `modprobe nvidia`, and "
        f"`dmesg | grep -i -e nvrm -e 'key was rejected'` has the reason ({SECTION})",
    )


def _query(run: Run) -> tuple[Row, ...] | Failed:
    ran = _ended(run, QUERY)
    if isinstance(ran, Failed):
        return ran
    if ran.code != 0:
        return _error(ran)
    try:
        return rows(ran.out)
    except ValueError as error:
        return _failed(
            f"the output of nvidia-smi cannot be used: {error}",
            f"run `{' '.join(QUERY)}` and compare it with a driver that this release knows ({SECTION})",
        )


def _ended(run: Run, command: Sequence[str]) -> Ran | Failed:
    """Run a program of the driver's to its end."""
    program = command[0]
    try:
        ran = run(command, SMI_TIMEOUT_S)
    except FileNotFoundError:
        return _failed(
            f"the kernel module is loaded, but {program} is not installed",
            f"install the driver's programs in the version of the module ({SECTION})",
        )
    except (OSError, ValueError) as error:
        return _failed(f"{program} cannot be started: {error}", f"install the driver again ({SECTION})")
    if ran.code is None:
        return _failed(
            f"{program} did not end within {SMI_TIMEOUT_S:.0f} s",
            "power the VM off and on again; `dmesg | grep -i -e nvrm -e xid` has the reason",
        )
    return ran


def _error(ran: Ran) -> Failed:
    said = ran.said
    for text, reason, remedy in _KNOWN_ERRORS:
        if text in said.lower():
            return _failed(reason, remedy)
    last = shown(" ".join(said[-2 * _LONGEST :].split()), _LONGEST) or "nothing"
    return _failed(
        f"nvidia-smi ended with exit code {ran.code} and printed: {last}",
        f"run `{SMI}`; `dmesg | grep -i nvrm` may have the reason",
    )


def _mig(run: Run, found: Sequence[Row], wanted: Sequence[str]) -> tuple[Gpu, ...]:
    if not (any(row.mig for row in found) or any(name.startswith("MIG-") for name in wanted)):
        return ()
    ran = _ended(run, LIST)
    return () if isinstance(ran, Failed) else mig_devices(ran.out, tuple(found))


def _selected(found: Sequence[Row], mig: Sequence[Gpu], wanted: Sequence[str]) -> tuple[Gpu, ...] | Failed:
    whole = [row.gpu for row in found if not row.mig]
    usable = [*whole, *mig]
    if not usable:
        return _failed(
            f"the GPU is in MIG mode and has no MIG device: {_listed([row.gpu for row in found])}",
            "make MIG devices (`nvidia-smi mig -lgip`, then `nvidia-smi mig -cgi PROFILE -C`), or switch MIG "
            "off (`nvidia-smi -mig 0`)",
        )
    if not wanted:
        return tuple(usable)
    named = {gpu.uuid.lower(): gpu for gpu in usable} | {str(gpu.index): gpu for gpu in whole}
    divided = {key for row in found if row.mig for key in (row.gpu.uuid.lower(), str(row.gpu.index))}
    for name in wanted:
        if name.lower() in divided:
            return _failed(
                f"FL_CUDA_VISIBLE_DEVICES names {shown(name, 80)}, a GPU in MIG mode. There are: "
                f"{_listed(usable)}",
                "name a MIG device (`nvidia-smi -L`) in FL_CUDA_VISIBLE_DEVICES, or switch MIG off",
            )
        if name.lower() not in named:
            return _failed(
                f"FL_CUDA_VISIBLE_DEVICES names {shown(name, 80)}, which is not there. There are: "
                f"{_listed(usable)}",
                "correct FL_CUDA_VISIBLE_DEVICES, or set it to all",
            )
    return tuple({named[name.lower()].uuid: named[name.lower()] for name in wanted}.values())


def _listed(gpus: Sequence[Gpu]) -> str:
    return "; ".join(f"{gpu.index} {gpu.uuid} ({gpu.name})" for gpu in gpus[:16])


def _failed(reason: str, remedy: str) -> Failed:
    return Failed(layer=Layer.DRIVER, reason=re.sub(r"\s+", " ", reason), remedy=remedy)
