"""What talks to Flower: grid, records, control API, app bundles, launchers.

`oneflower.flower.train` and the modules that apps import are in `oneflower.sdk`; the old names work for one
release.
"""

import importlib

from oneflower.flower._moved import warn_moved


def __getattr__(name: str) -> object:
    if name == "train":
        warn_moved("oneflower.flower.train", "oneflower.sdk.train")
        return importlib.import_module("oneflower.sdk").train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
