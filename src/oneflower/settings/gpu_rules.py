"""What contradicts itself in the GPU variables, and what is valid and probably not intended."""

from collections.abc import Iterator, Mapping
from typing import Final

from oneflower.settings.settings import Settings
from oneflower.settings.sources import Notice
from oneflower.settings.values import Value
from oneflower.settings.variable import Role

ON_SUPERLINK: Final = Notice(
    level="info",
    text="FL_GPU_ENABLED is a variable of SuperNodes and has no effect on a SuperLink: set it on each "
    "SuperNode that has a GPU",
)
_WITH_CUDA = "pytorch"
"""The framework that has a container with CUDA: docs/gpu.md."""


def of_the_gpus(values: Mapping[str, Value], role: Role) -> Iterator[str]:
    """Refuse to require what is switched off: the training would be one on processors."""
    if role is not Role.SUPERLINK and values.get("gpu_required") and values.get("gpu_enabled") is False:
        yield (
            "FL_GPU_REQUIRED is YES and FL_GPU_ENABLED is NO, with which no client gets a GPU: expected both "
            "YES, or none; write FL_GPU_ENABLED='YES' or FL_GPU_REQUIRED='NO'"
        )


def gpu_advice(settings: Settings, role: Role) -> Iterator[Notice]:
    """Yield where FL_GPU_ENABLED is YES and no app of this machine can use a GPU."""
    if not settings.gpu_enabled:
        return
    if role is Role.SUPERLINK:
        yield ON_SUPERLINK
    elif settings.framework != _WITH_CUDA:
        yield Notice(
            level="warning",
            text=f"FL_GPU_ENABLED is YES, and the container of {settings.framework} has no CUDA: its apps "
            f"train on processors; only that of {_WITH_CUDA} uses a GPU",
        )
