"""Check the GPUs of a SuperNode, layer by layer."""

from collections.abc import Iterator

from oneflower.findings import Finding, ok, problem, skipped, warning
from oneflower.gpu import Found, detect, pci_gpus
from oneflower.opennebula.appliance.gpus import kept, probe_of
from oneflower.opennebula.doctor.host import RUN_AGAIN, Host
from oneflower.opennebula.roles import Machine
from oneflower.settings import Settings
from oneflower.settings.cuda_devices import device_list
from oneflower.words import are, counted

GPU = "gpu"
_PROBE = "oneflower-gpu-doctor"  # that of a stage that runs just now has another name
_PROBE_S = 30.0


def gpu(host: Host) -> Iterator[Finding]:
    """Look at every layer if GPUs are to be used; say nothing of a machine that has and wants none."""
    if host.machine is not Machine.SUPERNODE:
        return
    there, resolution = pci_gpus(host.layout.root), host.facts.resolution
    if resolution is None:
        if there:
            yield skipped(GPU, "the settings are not valid")
        return
    settings = resolution.settings
    if settings.gpu_enabled:
        yield from _layers(host, settings)
    elif there:
        number = len(there)
        yield ok(GPU, f"{counted(number, 'NVIDIA GPU')} {are(number)} not used: FL_GPU_ENABLED is NO")


def _layers(host: Host, settings: Settings) -> Iterator[Finding]:
    wanted = device_list(settings.cuda_visible_devices)
    probe = probe_of(settings, name=_PROBE, timeout_s=_PROBE_S)
    found = detect(wanted, probe, run=host.programs, root=host.layout.root)
    for layer, text in found.seen:
        yield ok(f"{GPU}-{layer}", text)
    if found.failed is not None:
        yield problem(f"{GPU}-{found.failed}", found.reason, found.remedy)
    elif host.is_configured():
        yield from _of_the_boot(found, kept(host.layout, settings))


def _of_the_boot(now: Found, then: Found | None) -> Iterator[Finding]:
    """Compare with what the containers were started with."""
    if then is None or then.arguments != now.arguments:
        why = f": {then.text}" if then and then.failed else ""
        yield warning(f"{GPU}-boot", f"the SuperNode was not started with these GPUs{why}", RUN_AGAIN)
