"""Which Flower is installed, and whether oneflower supports it: read from package metadata alone."""

import sys
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Final

from oneflower.errors import FlowerVersionError

ROOMS: Final = {"1.25.0": "v1_25", "1.42.0": "v1_42"}
"""Each supported version of Flower, with the folder below `oneflower.flower` that is written for it."""
DEPLOYED: Final = "1.25.0"
"""The version that SuperLinks and SuperNodes run on. With the others oneflower simulates and checks apps."""
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
        raise FlowerVersionError(f"Flower {found.version} is installed in {_folder(found)}. {_how_to_fix()}")
    return found.version


def require_deployed() -> None:
    """Check that clusters can run on the installed Flower.

    Raises
    ------
    FlowerVersionError
        Flower is not installed, or in another version than the one that is deployed.
    """
    version, found = supported_version(), _installed()
    if version != DEPLOYED and found is not None:
        raise FlowerVersionError(
            f"Flower {version} is installed in {_folder(found)}: with it `oneflower simulate` and `oneflower "
            "app check` work, and every command that needs no Flower (checkpoints, status, logs, report, "
            f"dashboard, ...), but a cluster does not. oneflower supports Flower {DEPLOYED} for clusters. "
            f"{_install(DEPLOYED)}"
        )


def check_room(folder: str) -> None:
    """Check that a folder is that of the installed Flower, before anything of Flower is imported there.

    Raises
    ------
    FlowerVersionError
        It is not.
    """
    if supported_room() != folder.rpartition(".")[2]:
        raise FlowerVersionError(f"{folder} is not the folder for the installed Flower: {ROOMS}")


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


def _folder(found: Distribution) -> str:
    return str(found.locate_file(""))


def _how_to_fix() -> str:
    others = " and ".join(version for version in ROOMS if version != DEPLOYED)
    return (
        f"oneflower supports Flower {DEPLOYED}, and {others} for `oneflower simulate` and `oneflower app "
        f"check`. {_install(DEPLOYED)}"
    )


def _install(version: str) -> str:
    return f"Install it for the Python that runs oneflower: {sys.executable} -m pip install flwr=={version}"
