"""What is valid of the GPU variables and probably not intended."""

from collections.abc import Iterator

from oneflower.settings.settings import Settings
from oneflower.settings.sources import Notice
from oneflower.settings.variable import Role

_WITH_CUDA = "pytorch"
"""The framework that has a container with CUDA: docs/gpu.md."""


def gpu_advice(settings: Settings, role: Role) -> Iterator[Notice]:
    """Yield where FL_GPU_ENABLED is YES and no app of this machine can use a GPU."""
    if not settings.gpu_enabled:
        return
    if role is Role.SUPERLINK:
        yield Notice(
            level="info",
            text="FL_GPU_ENABLED is a variable of SuperNodes and has no effect on a SuperLink: set it on "
            "each SuperNode that has a GPU",
        )
    elif settings.framework != _WITH_CUDA:
        yield Notice(
            level="warning",
            text=f"FL_GPU_ENABLED is YES, and the container of {settings.framework} has no CUDA: its apps "
            f"train on processors; only that of {_WITH_CUDA} uses a GPU",
        )
