"""The software that runs here: for the report of a training, and for a bug report."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Final

PACKAGES: Final = ("oneflower", "flwr", "numpy", "torch", "transformers", "peft")


def environment() -> dict[str, str]:
    """Return names and versions; nothing is imported for it, and the host's name is left out."""
    found = {
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processors": str(os.cpu_count()),
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
