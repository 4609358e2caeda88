"""The one door to what is private in Flower: the folder that is written for the installed version.

``from oneflower.flower.door import bundles`` checks the version, imports that module of the folder, and
compares the fingerprints of the private names that it declares. `oneflower.flower.api` holds single names,
public ones too.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Final

from oneflower.flower.version import supported_room

if TYPE_CHECKING:
    from oneflower.flower.v1_25 import (
        apps,
        bundles,
        control_api,
        entry_points,
        legacy_loop,
        membership,
        names,
        replies,
        workarounds,
    )

__all__ = [
    "apps",
    "bundles",
    "control_api",
    "entry_points",
    "legacy_loop",
    "membership",
    "names",
    "replies",
    "warm_executor",  # noqa: F822 - imported under another name above
    "workarounds",
]

_PARTS: Final = {
    "apps": "apps",
    "bundles": "bundles",
    "control_api": "control_api",
    "entry_points": "entry_points",
    "legacy_loop": "legacy_loop",
    "membership": "membership",
    "names": "names",
    "replies": "replies",
    "warm_executor": "warm.start",
    "workarounds": "workarounds",
}


def __getattr__(name: str) -> ModuleType:
    """Import a part of the installed version's folder.

    Raises
    ------
    FlowerVersionError
        Another Flower is installed, or one of the right version whose source was changed.
    """
    if name not in _PARTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    folder = f"{__package__}.{supported_room()}"
    part = importlib.import_module(f"{folder}.{_PARTS[name]}")
    private = importlib.import_module(f"{folder}.private")
    private.check(*(use for use in private.declared_in(part) if not use.when_used))
    globals()[name] = part
    return part
