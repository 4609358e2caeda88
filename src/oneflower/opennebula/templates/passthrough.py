"""GPUs that a host hands to a VM: what `--gpu` may say, and the attributes of a VM template for it.

What OpenNebula reads was looked up in its sources at the tags release-6.8.0 to release-7.4.0:
``src/host/HostSharePCI.cc`` (PCI), ``src/vm/VirtualMachineParser.cc`` (TOPOLOGY), and
``src/vmm/LibVirtDriverKVM.cc`` (OS).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from oneflower.errors import SettingsError

FIRMWARE: Final = "UEFI"
"""OpenNebula 7.0 and newer choose the file themselves; older ones take a path of OVMF_UEFIS only."""
VCPUS: Final = 4
MEMORY_MIB: Final = 16384
DISK_MIB: Final = 40960
HUGEPAGE_SIZES_MIB: Final = (2, 1024)
NVIDIA: Final = "10de"
_CLASSES = {"0300": "a VGA controller", "0302": "a 3D controller"}
_OTHER_CLASSES = {"0200": "a network card", "0403": "the audio function of a card", "0680": "a bridge"}
_NO_GPU = {"1": "audio", "2": "USB controller", "3": "USB Type-C controller"}
_ADDRESS = re.compile(r"([0-9a-f]{2}):([0-9a-f]{2})\.([0-9a-f])")
_WITH_DOMAIN = re.compile(r"[0-9a-f]{4,8}:([0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f])")
_KIND = re.compile(r"([0-9a-f]{4}):([0-9a-f]{4})?(?::([0-9a-f]{4}))?")
_FORMS = (
    "a short address such as 01:00.0, or VENDOR:DEVICE or VENDOR:DEVICE:CLASS such as 10de:2330:0302, as "
    "`onehost show` lists them"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PciGpu:
    """One GPU: at a place of its host, or any of a kind. What is not given is empty."""

    address: str = ""
    vendor: str = ""
    device: str = ""
    class_id: str = ""

    @property
    def attributes(self) -> dict[str, str]:
        """The values of its PCI attribute."""
        named = {
            "SHORT_ADDRESS": self.address,
            "VENDOR": self.vendor,
            "DEVICE": self.device,
            "CLASS": self.class_id,
        }
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Passthrough:
    """The GPUs of a VM, and what it needs of its host besides.

    Attributes
    ----------
    hugepage_mib
        Size of the host's pages for the VM's memory; 0 for ordinary pages.
    firmware
        ``UEFI``, or the path of the firmware's file on the hosts.
    """

    gpus: tuple[PciGpu, ...]
    hugepage_mib: int = 0
    firmware: str = FIRMWARE


def parse_gpus(texts: Sequence[str]) -> tuple[PciGpu, ...]:
    """Return what `--gpu` named.

    Raises
    ------
    SettingsError
        A value is neither form, is no GPU of NVIDIA, or an address is given twice.
    """
    gpus = tuple(_gpu(text) for text in texts)
    addresses = [gpu.address for gpu in gpus if gpu.address]
    for address in addresses:
        if addresses.count(address) > 1:
            raise SettingsError(
                f"--gpu {address} is given twice: expected each address once, because a host has one device "
                "there; remove one of them"
            )
    return gpus


def remarks(passthrough: Passthrough) -> tuple[str, ...]:
    """Return what a reader who edits the template must keep, a line each."""
    lines = ["SOCKETS * CORES * THREADS of TOPOLOGY must be VCPU, and CPU too."]
    if passthrough.hugepage_mib:
        lines.append(f"MEMORY must stay a multiple of HUGEPAGE_SIZE, {passthrough.hugepage_mib} MiB.")
    return tuple(lines)


def checked_firmware(text: str) -> str:
    """Return the firmware; SettingsError where it is neither UEFI nor a path."""
    if text.upper() == FIRMWARE:
        return FIRMWARE
    if re.fullmatch(r"/[A-Za-z0-9._/+-]{1,200}", text):
        return text
    raise SettingsError(
        f"--firmware is {text[:60]!r}: expected UEFI, or for OpenNebula 6.8 and 6.10 the path of a firmware "
        "that OVMF_UEFIS of vmm_exec_kvm.conf lists, for example /usr/share/OVMF/OVMF_CODE.fd"
    )


def checked_hugepages(size_mib: int, memory_mib: int) -> int:
    """Return the size of a page in MiB; SettingsError where no host has such pages, or they do not add up."""
    if size_mib and size_mib not in HUGEPAGE_SIZES_MIB:
        raise SettingsError(
            f"--hugepages is {size_mib}: expected 2 or 1024, the sizes in MiB of x86-64's huge pages"
        )
    if size_mib and memory_mib % size_mib:
        raise SettingsError(
            f"--hugepages is {size_mib} and MEMORY {memory_mib}: expected a multiple of {size_mib} MiB"
        )
    return size_mib


def _gpu(text: str) -> PciGpu:
    given = text.strip().lower()
    if found := _ADDRESS.fullmatch(given):
        return _at(given, slot=found[2], function=found[3])
    if found := _KIND.fullmatch(given):
        return _of_kind(text, *(part or "" for part in found.groups()))
    hint = "; leave the domain out" if _WITH_DOMAIN.fullmatch(given) else ""
    raise SettingsError(f"--gpu is {text[:60]!r}: expected {_FORMS}{hint}")


def _at(address: str, *, slot: str, function: str) -> PciGpu:
    if int(slot, 16) > 0x1F or int(function, 16) > 7:
        raise SettingsError(
            f"--gpu is {address!r}: expected BUS:SLOT.FUNCTION with a slot from 00 to 1f and a function "
            "from 0 to 7; `lspci -d 10de:` on the host lists the addresses"
        )
    if function in _NO_GPU:  # from function 4 on a card may have virtual GPUs
        raise SettingsError(
            f"--gpu is {address!r}: function {function} is the card's {_NO_GPU[function]}; expected the GPU, "
            f"which is function 0: --gpu {address[:-1]}0"
        )
    return PciGpu(address=address)


def _of_kind(text: str, vendor: str, device: str, class_id: str) -> PciGpu:
    if vendor != NVIDIA:
        raise SettingsError(
            f"--gpu is {text[:60]!r}: its vendor is {vendor}, and only NVIDIA's GPUs are used, whose vendor "
            f"is 10de; expected {_FORMS}"
        )
    if not device and not class_id:
        raise SettingsError(
            f"--gpu is {text[:60]!r}: it names every device of NVIDIA, also audio functions and bridges; "
            f"expected {_FORMS}, or 10de::0302 for any 3D controller"
        )
    if class_id and class_id not in _CLASSES:
        what = f", which is {_OTHER_CLASSES[class_id]}" if class_id in _OTHER_CLASSES else ""
        raise SettingsError(
            f"--gpu is {text[:60]!r}: its class is {class_id}{what}; expected a GPU: "
            + " or ".join(f"{number} ({name})" for number, name in _CLASSES.items())
        )
    return PciGpu(vendor=vendor, device=device, class_id=class_id)
