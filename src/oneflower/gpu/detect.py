"""Look at the layers one after the other, and stop at the first that does not work."""

from collections.abc import Sequence
from pathlib import Path

from oneflower.gpu.container import check_container
from oneflower.gpu.driver import check_driver, make_device_nodes
from oneflower.gpu.found import Failed, Found, Layer
from oneflower.gpu.framework import Probe, check_framework
from oneflower.gpu.pci import PciGpu, check_pci
from oneflower.gpu.programs import Run, run_program


def detect(
    wanted: Sequence[str],
    probe: Probe,
    *,
    run: Run = run_program,
    root: Path = Path("/"),
    make_nodes: bool = False,
) -> Found:
    """Find the GPUs that ClientApps can use, and what gives them to a container.

    Whatever a program prints, does, or is not: the result is a layer with a sentence, never an exception.

    Parameters
    ----------
    wanted
        Numbers or UUIDs of GPUs; empty for all.
    make_nodes
        Whether the driver may make its device nodes, which changes the machine.
    """
    seen: list[tuple[Layer, str]] = []
    pci = check_pci(root)
    if isinstance(pci, Failed):
        return _stopped(pci, seen)
    seen.append((Layer.PCI, ", ".join(_on_bus(gpu) for gpu in pci[:16])))
    if make_nodes:
        make_device_nodes(root, run)
    driver = check_driver(root, run, pci, wanted)
    if isinstance(driver, Failed):
        return _stopped(driver, seen)
    names = "; ".join(gpu.text for gpu in driver.gpus[:16])
    seen.append((Layer.DRIVER, f"version {driver.version}: {names}"))
    arguments = check_container(root, run, probe.docker, driver.gpus, all_of_them=not wanted)
    if isinstance(arguments, Failed):
        return _stopped(arguments, seen)
    ran = check_framework(run, probe, arguments, driver.gpus)
    if isinstance(ran, Failed) and ran.layer is Layer.CONTAINER:
        return _stopped(ran, seen)
    seen.append((Layer.CONTAINER, " ".join(arguments)))
    if isinstance(ran, Failed):
        return _stopped(ran, seen)
    seen.append((Layer.FRAMEWORK, ran))
    return Found(gpus=driver.gpus, seen=tuple(seen), arguments=arguments)


def _stopped(failed: Failed, seen: list[tuple[Layer, str]]) -> Found:
    return Found(failed=failed.layer, reason=failed.reason, remedy=failed.remedy, seen=tuple(seen))


def _on_bus(gpu: PciGpu) -> str:
    return f"{gpu.address} 10de:{gpu.device}" + (f" ({gpu.driver})" if gpu.driver else "")
