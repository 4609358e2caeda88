"""Packer recipes of the disk images, in the layouts of the two repositories that build them."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from oneflower.opennebula.rendering import render
from oneflower.opennebula.roles import Machine
from oneflower.opennebula.templates.vm import DISK_MIB, MEMORY_MIB


@dataclass(frozen=True, slots=True)
class Link:
    """A generated symbolic link; its target is in the repository that builds."""

    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """The layout of a repository that builds images.

    Attributes
    ----------
    name
        Its name in texts.
    folder
        Folder below ``appliances/`` with the files generated for it.
    recipes
        Folder below ``appliances/`` with its recipes.
    services
        Variables of its Makefile that list what can be built.
    prefix
        Put before an appliance's name to get the name of the build.
    one_apps, appliances
        Paths to one-apps and to the appliances from the folder in which Packer runs.
    common
        The file of variables that all recipes share, from a recipe's folder.
    declares_all
        Whether that file declares every variable that is passed to Packer.
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

    def build_name(self, machine: Machine) -> str:
        """Return the name of a machine's build, which is also the name of its recipe's folder."""
        return f"{self.prefix}{machine.appliance}"


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
# It pins one-apps of June 2025, whose common file declares only the architecture.
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

# Template of each script, by the name that the recipe and build.sh call it.
_SCRIPTS = {
    "gen_context": "packer/gen_context.sh",
    "81-configure-ssh.sh": "packer/81-configure-ssh.sh",
    "82-configure-context.sh": "packer/82-configure-context.sh",
}


def packer_files(machine: Machine, repository: Repository) -> dict[str, str | Link]:
    """Return the recipe's files by path below ``appliances/``."""
    templates = {f"{machine.appliance}.pkr.hcl": "packer/recipe.pkr.hcl", **_SCRIPTS}
    if not repository.declares_all:
        templates["variables.pkr.hcl"] = "packer/variables.pkr.hcl"
    values = {
        "name": machine.appliance,
        "memory_mib": MEMORY_MIB,
        "disk_mib": DISK_MIB,
        "repository": repository.name,
        "one_apps": repository.one_apps,
        "appliances": repository.appliances,
    }
    folder = f"{repository.recipes}/{repository.build_name(machine)}"
    files: dict[str, str | Link] = {
        f"{folder}/{file}": render(template, **values) for file, template in templates.items()
    }
    files[f"{folder}/{repository.common.name}"] = Link(str(repository.common))
    return files


def makefile(repository: Repository) -> str:
    """Return lines for the repository's Makefile.local: what can be built, and from which base image."""
    return render(
        "packer/Makefile.local",
        repository=repository.name,
        services=repository.services,
        names=[repository.build_name(machine) for machine in Machine],
        base=f"{repository.one_apps}export/debian12.qcow2",
        one_apps=repository.one_apps,
    )
