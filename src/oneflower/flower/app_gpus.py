"""The GPUs of ClientApp processes: what their environment says to CUDA, PyTorch and `oneflower.sdk.device`.

It is set before anything imports a framework, in each process that runs ClientApps and in what starts one.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Final

from oneflower.flower.programs import WARM_EXECUTOR, value_of
from oneflower.settings import Settings
from oneflower.settings.cuda_devices import device_list

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
GPU_VARIABLE: Final = "ONEFLOWER_GPU"
"""YES where ClientApps use GPUs; NO, or missing, where they have none."""
FRACTION_VARIABLE: Final = "ONEFLOWER_GPU_FRACTION"
REQUIRED_VARIABLE: Final = "ONEFLOWER_GPU_REQUIRED"
CHOSEN_VARIABLE: Final = "ONEFLOWER_GPUS_CHOSEN"
"""YES in a container that was given the chosen GPUs alone: they have new numbers there, from 0."""
ON: Final = "YES"
OFF: Final = "NO"

_FOR_CUDA: Final = {
    # CUDA's own order puts the fastest first: nvidia-smi and FL_CUDA_VISIBLE_DEVICES count on the bus.
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    # cuBLAS reads this when it starts, and is not deterministic without it.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    # torch.cuda.is_available() asks NVML then. CUDA's own answer starts the driver, which no fork survives.
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
}
_PROGRAMS: Final = frozenset({"supernode", "clientapp", WARM_EXECUTOR})


@dataclass(frozen=True, slots=True, kw_only=True)
class AppGpus:
    """What a ClientApp's process is asked to do with its GPUs.

    Attributes
    ----------
    fraction
        The share of a GPU's memory that PyTorch may reserve.
    required
        Training without a GPU is an error.
    on_vm
        It is in the container of an appliance.
    """

    fraction: float = 1.0
    required: bool = False
    on_vm: bool = False


def is_no_container(environ: MutableMapping[str, str]) -> None:
    """Drop what only the container of an appliance says: it would cancel FL_CUDA_VISIBLE_DEVICES here."""
    environ.pop(CHOSEN_VARIABLE, None)


def gpu_environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to set in the environment `environ` of a process that runs ClientApps."""
    if not settings.gpu_enabled:
        return {VISIBLE: "", GPU_VARIABLE: OFF}
    devices = () if environ.get(CHOSEN_VARIABLE) == ON else device_list(settings.cuda_visible_devices)
    return {
        **_FOR_CUDA,
        **({VISIBLE: ",".join(devices)} if devices else {}),
        GPU_VARIABLE: ON,
        FRACTION_VARIABLE: repr(settings.gpu_memory_fraction),
        REQUIRED_VARIABLE: ON if settings.gpu_required else OFF,
    }


def give_gpus(
    program: str, arguments: Sequence[str], settings: Settings, environ: MutableMapping[str, str]
) -> None:
    """Set the variables in the environment of a program of Flower's that runs ClientApps or starts them."""
    plugin = value_of("--plugin-type", arguments)
    if program in _PROGRAMS or (program == "superexec" and plugin == "clientapp"):
        environ.update(gpu_environment(settings, environ))


def app_gpus(environ: Mapping[str, str]) -> AppGpus | None:
    """Return what the environment of this process asks for; None where its apps have no GPU."""
    if environ.get(GPU_VARIABLE) != ON:
        return None
    return AppGpus(
        fraction=_fraction(environ.get(FRACTION_VARIABLE, "")),
        required=environ.get(REQUIRED_VARIABLE) == ON,
        on_vm=environ.get(CHOSEN_VARIABLE) == ON,
    )


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 1.0
    return value if 0 < value <= 1 else 1.0
