"""Versions of the installed software, for training reports and bug reports."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Final

PACKAGES: Final = ("oneflower", "flwr", "numpy", "torch", "transformers", "peft")


def environment() -> dict[str, str]:
    """Return names and versions, without importing the packages and without the host's name."""
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
