"""All generated files of ``appliances/``, by path."""

import json
from pathlib import Path

from oneflower.errors import StateError
from oneflower.opennebula.roles import Machine
from oneflower.opennebula.templates import machine as machines
from oneflower.opennebula.templates import marketplace
from oneflower.opennebula.templates.appliance_folder import (
    appliance_script,
    certification_test,
    changelog,
    readme,
    service_readme,
)
from oneflower.opennebula.templates.oneflow import Form, service
from oneflower.opennebula.templates.packer import makefile, packer_files
from oneflower.opennebula.templates.repositories import REPOSITORIES, Link
from oneflower.opennebula.templates.vm import vm_template

SERVICE_FOLDER = "oneflower-service"


def catalogue() -> dict[str, str | Link]:
    """Return every generated file by its path below ``appliances/``: its text, or where it links to."""
    files: dict[str, str | Link] = {}
    for machine in Machine:
        files |= _machine_files(machine)
        for repository in REPOSITORIES:
            files |= packer_files(machine, repository)
    for repository in REPOSITORIES:
        files[f"{repository.folder}/Makefile.local"] = makefile(repository)
    files[f"{SERVICE_FOLDER}/README.md"] = service_readme()
    files[f"{SERVICE_FOLDER}/CHANGELOG.md"] = changelog()
    for form in Form:
        files[f"{SERVICE_FOLDER}/oneflow-{form}.json"] = service_text(form)
    name = marketplace.identifier("service", marketplace.SERVICE_NAME)
    files[f"{SERVICE_FOLDER}/{name}.yaml"] = marketplace.service_entry()
    return files


def service_text(
    form: Form, *, superlink_template: int = 0, supernode_template: int = 0, all_inputs: bool = False
) -> str:
    """Return the OneFlow service as a JSON file."""
    value = service(
        form,
        superlink_template=superlink_template,
        supernode_template=supernode_template,
        all_inputs=all_inputs,
    )
    return json.dumps(value, indent=2) + "\n"


def write_catalogue(folder: Path) -> list[Path]:
    """Write all files below the folder and return their paths.

    Raises
    ------
    StateError
        The folder cannot be written.
    """
    written = []
    for name, content in catalogue().items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, content)
        except OSError as error:
            raise StateError(
                f"{str(path)!r} cannot be written ({error.strerror}): choose another folder with --output"
            ) from None
        written.append(path)
    return written


def _write(path: Path, content: str | Link) -> None:
    # What was a link before must not be written through.
    if path.is_symlink() or isinstance(content, Link):
        path.unlink(missing_ok=True)
    if isinstance(content, Link):
        path.symlink_to(content.target)
        return
    path.write_text(content, encoding="utf-8")
    if content.startswith("#!"):
        path.chmod(0o755)


def _machine_files(machine: Machine) -> dict[str, str]:
    name = machines.IMAGES[machine]
    image_id, template_id = (marketplace.identifier(kind, name) for kind in ("image", "vm-template"))
    files = {
        f"{image_id}.yaml": marketplace.image_entry(machine),
        f"{template_id}.yaml": marketplace.vm_template_entry(machine),
        "vm-template.txt": vm_template(machine),
        "appliance.sh": appliance_script(machine),
        "README.md": readme(machine),
        "CHANGELOG.md": changelog(),
        "metadata.yaml": marketplace.metadata(machine),
        "context.yaml": marketplace.certification_context(machine),
        "tests.yaml": marketplace.certification_list(machine),
        f"tests/{marketplace.certification_file(machine)}": certification_test(machine),
    }
    return {f"{name}/{file}": text for file, text in files.items()}
