"""The recipe of a disk image, in the layouts of one-apps and of the community marketplace."""

from oneflower.opennebula.rendering import render
from oneflower.opennebula.roles import Machine
from oneflower.opennebula.templates import machine as machines
from oneflower.opennebula.templates.repositories import Link, Repository

# Template file of each script, by the name that the recipe and one-apps know it by.
_SCRIPTS = {
    "gen_context": "packer/gen_context.sh",
    "81-configure-ssh.sh": "packer/81-configure-ssh.sh",
    "82-configure-context.sh": "packer/82-configure-context.sh",
}


def packer_files(machine: Machine, repository: Repository) -> dict[str, str | Link]:
    """Return the recipe's files by path below ``appliances/``."""
    name = machines.IMAGES[machine]
    templates = {f"{name}.pkr.hcl": "packer/recipe.pkr.hcl", **_SCRIPTS}
    if not repository.declares_all:
        templates["variables.pkr.hcl"] = "packer/variables.pkr.hcl"
    values = {
        "name": name,
        "memory_mib": machines.MEMORY_MIB,
        "disk_mib": machines.DISK_MIB,
        "repository": repository.name,
        "one_apps": repository.one_apps,
        "appliances": repository.appliances,
    }
    folder = f"{repository.recipes}/{repository.built(machine)}"
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
        names=[repository.built(machine) for machine in Machine],
        base=f"{repository.one_apps}export/debian12.qcow2",
        one_apps=repository.one_apps,
    )
