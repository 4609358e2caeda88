"""Which Flower is installed, and whether oneflower supports it: read from package metadata alone."""

import sys
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Final

from oneflower.errors import FlowerVersionError

ROOMS: Final = {"1.25.0": "v1_25"}
"""Each supported version of Flower, with the folder below `oneflower.flower` that is written for it."""
PACKAGES: Final = ("flwr", "flwr-nightly")
"""The distributions that install Flower, as Flower itself looks for them (flwr/common/version.py)."""


def supported_room() -> str:
    """Return the name of the folder for the installed Flower.

    Raises
    ------
    FlowerVersionError
        Flower is not installed, or in a version that has no folder.
    """
    return ROOMS[supported_version()]


@cache
def supported_version() -> str:
    """Return the version of the installed Flower.

    Raises
    ------
    FlowerVersionError
        Flower is not installed, or in a version that has no folder. Nothing of Flower was imported.
    """
    found = _installed()
    if found is None:
        raise FlowerVersionError(f"Flower is not installed. {_how_to_fix()}")
    if found.version not in ROOMS:
        folder = found.locate_file("")
        raise FlowerVersionError(f"Flower {found.version} is installed in {folder}. {_how_to_fix()}")
    return found.version


def exit_unless_supported() -> None:
    """End a process whose Flower is not supported with the error's text and exit code, without a traceback.

    For what apps import: an exception there would reach the operator as Flower's "cannot load the app".
    """
    try:
        supported_room()
    except FlowerVersionError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)


def _installed() -> Distribution | None:
    for package in PACKAGES:
        try:
            return distribution(package)
        except PackageNotFoundError:
            continue
    return None


def _how_to_fix() -> str:
    return (
        f"oneflower supports Flower {' and '.join(ROOMS)}. Install it for the Python that runs oneflower: "
        f"{sys.executable} -m pip install flwr=={list(ROOMS)[-1]}"
    )
