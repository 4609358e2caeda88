"""The two repositories that build images: one-apps, and the community marketplace."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from oneflower.opennebula.roles import Machine
from oneflower.opennebula.templates import machine as machines


@dataclass(frozen=True, slots=True)
class Link:
    """A file of the catalogue that is a symbolic link; its target lies in the repository that builds."""

    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """Where recipes lie and what they refer to.

    Attributes
    ----------
    name
        What it is called in texts.
    folder
        Where what is generated for it lies below ``appliances/``.
    recipes
        Where its recipes lie below ``appliances/``.
    services
        Variables of its Makefile that list what can be built.
    prefix
        What is put before an appliance's name to name what is built.
    one_apps, appliances
        The way to one-apps and to the appliances from the folder in which Packer is run.
    common
        The file of variables that all recipes share, from a recipe's folder.
    declares_all
        That file declares every variable that is passed.
    """

    name: str
    folder: str
    recipes: str
    services: tuple[str, ...]
    prefix: str
    one_apps: str
    appliances: str
    common: PurePosixPath
    declares_all: bool

    def built(self, machine: Machine) -> str:
        """Return what is built of a machine: the name of its recipe's folder, too."""
        return f"{self.prefix}{machines.IMAGES[machine]}"


ONE_APPS = Repository(
    name="one-apps",
    folder="packer",
    recipes="packer",
    services=("SERVICES_AMD64", "SERVICES"),
    prefix="service_",
    one_apps="",
    appliances="appliances/",
    # Since one-apps 7.2.
    common=PurePosixPath("../vars-common.pkr.hcl"),
    declares_all=True,
)
# It pins a one-apps of June 2025, whose common file declares the architecture alone.
COMMUNITY = Repository(
    name="marketplace-community/apps-code/community-apps",
    folder="community-apps",
    recipes="community-apps/packer",
    services=("SERVICES",),
    prefix="",
    one_apps="../one-apps/",
    appliances="../../appliances/",
    common=PurePosixPath("../../../one-apps/packer/common.pkr.hcl"),
    declares_all=False,
)
REPOSITORIES = (ONE_APPS, COMMUNITY)
