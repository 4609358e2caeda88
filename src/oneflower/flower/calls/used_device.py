"""What the app of this process trains on, as it said itself: the mark of its reply carries it."""

_device = ""


def note_device(kind: str) -> None:
    """Note the device that an app has chosen: ``cpu``, or the name of a GPU such as ``NVIDIA H200``."""
    global _device  # noqa: PLW0603 - one process serves one message
    _device = kind


def used_device() -> str:
    """Return the device that was noted since `forget_device`; empty where the app does not say it."""
    return _device


def forget_device() -> None:
    """Forget it before the next message: a simulation serves several in one process."""
    note_device("")
