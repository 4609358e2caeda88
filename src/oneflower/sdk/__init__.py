"""What apps import: `train` for the server, and helpers for clients, PyTorch, data and run-config options.

Under a Flower that is not supported, importing it ends the app's process with exit code 4 and says why.
"""

from typing import TYPE_CHECKING

from oneflower.flower.version import exit_unless_supported

if TYPE_CHECKING:
    from oneflower.training.train import train

__all__ = ["train"]

exit_unless_supported()


def __getattr__(name: str) -> object:
    """Import `train` where it is asked for: a client, and every command, does without the server's side."""
    if name == "train":
        from oneflower.training.train import train  # noqa: PLC0415

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
