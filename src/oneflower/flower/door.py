"""The one door to what is private in Flower: the folder that is written for the installed version.

``from oneflower.flower.door import port`` checks the version, imports that module of the folder, and compares
the fingerprints of the private names that it declares. `oneflower.flower.api` holds single names, public ones
too. Only the folder of the version that is deployed has all parts.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Final

from oneflower.flower.private import check, declared_in
from oneflower.flower.version import require_deployed, supported_room

if TYPE_CHECKING:
    from oneflower.flower.v1_25 import (
        control_api,
        entry_points,
        membership,
        own_generators,
        port,
        replies,
        workarounds,
    )

__all__ = [
    "control_api",
    "entry_points",
    "membership",
    "own_generators",
    "port",
    "replies",
    "warm_executor",  # noqa: F822 - imported under another name above
    "workarounds",
]

_EVERYWHERE: Final = "port"
"""The part that each version's folder has."""
_PARTS: Final = {
    "control_api": "control_api",
    "entry_points": "entry_points",
    "membership": "membership",
    "own_generators": "own_generators",
    "port": "port",
    "replies": "replies",
    "warm_executor": "warm.start",
    "workarounds": "workarounds",
}


def __getattr__(name: str) -> ModuleType:
    """Import a part of the installed version's folder.

    Raises
    ------
    FlowerVersionError
        Another Flower is installed, one of the right version whose source was changed, or one that is not
        deployed and has no such part.
    """
    if name not in _PARTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    folder = f"{__package__}.{supported_room()}"
    if name != _EVERYWHERE:
        require_deployed()
    part = importlib.import_module(f"{folder}.{_PARTS[name]}")
    check(*(use for use in declared_in(part) if not use.when_used))
    globals()[name] = part
    return part
