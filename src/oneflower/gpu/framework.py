"""The fourth layer: whether PyTorch, in a container as the ClientApps have it, computes on each GPU."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from oneflower.bounded_json import Bounds, parse_json
from oneflower.foreign_text import shown
from oneflower.gpu.container import GENERATE
from oneflower.gpu.found import Failed, Gpu, Layer
from oneflower.gpu.programs import TORCH_GPUS, Ran, Run

PROBE_TIMEOUT_S: Final = 150.0
REMOVE_TIMEOUT_S: Final = 20.0
NAME: Final = "oneflower-gpu-probe"
_BOUNDS: Final = Bounds(most_bytes=64 * 1024, most_values=1000, most_depth=4)
# docker run itself failed: 125; the program could not be started: 126, not found: 127.
_NOT_STARTED: Final = frozenset({125, 126, 127})


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How the probe is run.

    Attributes
    ----------
    docker
        The program of the container engine.
    command
        Returns the command that runs a Python module in a new container: its name, arguments for GPUs, the
        module.
    needs_torch
        Whether the ClientApps' framework is PyTorch.
    """

    docker: str
    command: Callable[[str, Sequence[str], str], Sequence[str]]
    needs_torch: bool = True
    name: str = NAME
    timeout_s: float = PROBE_TIMEOUT_S


def check_framework(run: Run, probe: Probe, arguments: Sequence[str], gpus: Sequence[Gpu]) -> str | Failed:
    """Run the probe; return what it has seen."""
    _remove(run, probe)  # one of a boot that was cut off
    try:
        ran = run(tuple(probe.command(probe.name, arguments, TORCH_GPUS)), probe.timeout_s)
    except (OSError, ValueError) as error:
        return _container(f"{probe.docker} cannot be started: {error}")
    if ran.code is None:
        _remove(run, probe)
        return _failed(
            f"the probe container did not end within {probe.timeout_s:.0f} s",
            "`dmesg | grep -i -e nvrm -e xid` may have the reason; power the VM off and on again",
        )
    if ran.code in _NOT_STARTED:
        return _container(f"the engine cannot start a container with the GPU: {_last(ran)}")
    said = _parsed(ran.out)
    if said is None:
        return _failed(
            f"the probe container printed no JSON and ended with exit code {ran.code}: {_last(ran)}",
            "use the container image of this release; `docker logs` has nothing of a probe",
        )
    return _judged(said, gpus, needs_torch=probe.needs_torch)


def _remove(run: Run, probe: Probe) -> None:
    with suppress(OSError, ValueError):
        run((probe.docker, "rm", "--force", probe.name), REMOVE_TIMEOUT_S)


def _parsed(out: str) -> Mapping[str, Any] | None:
    """Return the object in the last line."""
    lines = out.strip().splitlines()
    try:
        found = parse_json(lines[-1], _BOUNDS) if lines else None
    except ValueError:
        return None
    return found if isinstance(found, dict) and "torch" in found else None


def _judged(said: Mapping[str, Any], gpus: Sequence[Gpu], *, needs_torch: bool) -> str | Failed:
    if said["torch"] is None:
        return _without_torch(needs_torch=needs_torch)
    version, cuda, error = _text(said["torch"]), said.get("cuda"), _text(said.get("error"))
    if cuda is None and not error:
        return _failed(
            f"PyTorch {version} in the container image was built without CUDA",
            "use a disk image that was built with GPU=YES: its container has the CUDA build (docs/gpu.md)",
        )
    if "out of memory" in error.lower():  # it computes for others just now
        return f"PyTorch {version} for CUDA {_text(cuda)} starts; no memory of the GPU was free to try it"
    if error or said.get("available") is not True:
        return _no_cuda(f"PyTorch {version} for CUDA {_text(cuda) or 'unknown'}", error)
    devices = said.get("devices")
    count = len(devices) if isinstance(devices, list) else 0
    wanted = 1 if any(gpu.is_mig for gpu in gpus) else len(gpus)  # CUDA shows a process one MIG device
    if count < wanted:
        return _failed(
            f"PyTorch sees {count} of {wanted} GPUs in the container",
            "compare `nvidia-smi -L` on the machine and in a container; write the CDI specification again: "
            f"{GENERATE}",
        )
    return f"PyTorch {version} for CUDA {_text(cuda)} computes on {count} of {count} GPUs"


def _without_torch(*, needs_torch: bool) -> str | Failed:
    if needs_torch:
        return _failed(
            "the container image has no PyTorch", "use the image of ML_FRAMEWORK=pytorch of this release"
        )
    return "the container starts with the GPU; its framework is not PyTorch, and was not tried"


def _no_cuda(build: str, error: str) -> Failed:
    lower = error.lower()
    if "too old" in lower or "insufficient" in lower:
        return _failed(
            f"the driver is too old for {build}: {error}",
            "install a driver for this CUDA version, or use a disk image built with GPU=YES: its driver fits "
            "its PyTorch (docs/gpu.md)",
        )
    if "no kernel image" in lower:
        return _failed(
            f"{build} has no code for this GPU's architecture: {error}",
            "use a GPU or a build of PyTorch that knows the other: docs/gpu.md has the versions",
        )
    if "not yet initialized" in lower:  # CUDA error 802
        return _failed(
            f"{build} cannot use the GPU: {error}",
            "a GPU on a board with NVSwitch (HGX, SXM) needs NVIDIA Fabric Manager: docs/gpu.md, Limits",
        )
    if "busy or unavailable" in lower:
        return _failed(
            f"{build} cannot use the GPU: {error}",
            "let several processes use it: `nvidia-smi -c DEFAULT`; `nvidia-smi` shows who uses it now",
        )
    return _failed(
        f"{build} cannot use the GPU: {error or 'torch.cuda.is_available() is False'}",
        "user 49999 must be able to open /dev/nvidia* (`ls -l /dev/nvidia*` shows mode 0666); write the CDI "
        f"specification again: {GENERATE}",
    )


def _text(value: object) -> str:
    return shown(re.sub(r"\s+", " ", value), 500) if isinstance(value, str) else ""


def _last(ran: Ran) -> str:
    return shown(" ".join(ran.said[-800:].split()), 400) or "it printed nothing"


def _container(reason: str) -> Failed:
    return Failed(
        layer=Layer.CONTAINER,
        reason=reason,
        remedy=f"write the CDI specification again after each change of the driver: {GENERATE}; "
        "`journalctl -u docker` has more",
    )


def _failed(reason: str, remedy: str) -> Failed:
    return Failed(layer=Layer.FRAMEWORK, reason=reason, remedy=remedy)
