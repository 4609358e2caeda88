"""The only folder that imports flwr: strategies, round loop, records, control API."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oneflower.flower.training import train

__all__ = ["train"]


def __getattr__(name: str) -> object:
    """Import `train` where it is asked for: a client, and every command, does without the server's side."""
    if name == "train":
        from oneflower.flower.training import train  # noqa: PLC0415

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
