"""All generated files of ``appliances/``, by path."""

import json
from pathlib import Path

from oneflower import __version__
from oneflower.errors import StateError
from oneflower.opennebula.rendering import render
from oneflower.opennebula.roles import Machine
from oneflower.opennebula.templates import marketplace
from oneflower.opennebula.templates.oneflow import Form, service
from oneflower.opennebula.templates.packer import REPOSITORIES, Link, makefile, packer_files
from oneflower.opennebula.templates.vm import vm_template
from oneflower.settings import TABLE, asked

SERVICE_FOLDER = "oneflower-service"


def catalogue() -> dict[str, str | Link]:
    """Return every generated file by its path below ``appliances/``: its text, or the target of a link."""
    files: dict[str, str | Link] = {}
    for machine in Machine:
        files |= _machine_files(machine)
        for repository in REPOSITORIES:
            files |= packer_files(machine, repository)
    for repository in REPOSITORIES:
        files[f"{repository.folder}/Makefile.local"] = makefile(repository)
    files[f"{SERVICE_FOLDER}/README.md"] = render("service/README.md", variables=asked(TABLE))
    files[f"{SERVICE_FOLDER}/CHANGELOG.md"] = _changelog()
    for form in Form:
        files[f"{SERVICE_FOLDER}/oneflow-{form}.json"] = service_text(form)
    name = marketplace.identifier("service", marketplace.SERVICE_NAME)
    files[f"{SERVICE_FOLDER}/{name}.yaml"] = marketplace.service_entry()
    return files


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


def service_text(
    form: Form,
    *,
    superlink_template: int = 0,
    supernode_template: int = 0,
    all_inputs: bool = False,
    gpu: bool = False,
) -> str:
    """Return the OneFlow service as a JSON file."""
    value = service(
        form,
        superlink_template=superlink_template,
        supernode_template=supernode_template,
        all_inputs=all_inputs,
        gpu=gpu,
    )
    return json.dumps(value, indent=2) + "\n"


def appliance_script(machine: Machine) -> str:
    """Return appliance.sh, whose functions one-apps calls and which runs `oneflower appliance`."""
    return render(
        "appliance/appliance.sh",
        label=machine.label,
        role=machine,
        version=__version__,
        variables=machine.variables(),
    )


def certification_test(machine: Machine) -> str:
    """Return the marketplace's rspec test, which runs on one VM without a token and without a service.

    The test bench puts each command between double quotes on a command line: none may contain ``"`` or ``$``.
    """
    return render(
        "appliance/certification.rb",
        image=machine.container_image,
        is_superlink=machine is Machine.SUPERLINK,
    )


def _readme(machine: Machine) -> str:
    return render(
        "appliance/README.md",
        name=machine.appliance,
        label=machine.label,
        is_superlink=machine is Machine.SUPERLINK,
        variables=machine.variables(),
    )


def _changelog() -> str:
    return render(
        "appliance/CHANGELOG.md", release=marketplace.release(marketplace.RELEASED), version=__version__
    )


def _machine_files(machine: Machine) -> dict[str, str]:
    image_id, template_id = (
        marketplace.identifier(kind, machine.appliance) for kind in ("image", "vm-template")
    )
    files = {
        f"{image_id}.yaml": marketplace.image_entry(machine),
        f"{template_id}.yaml": marketplace.vm_template_entry(machine),
        "vm-template.txt": vm_template(machine),
        "appliance.sh": appliance_script(machine),
        "README.md": _readme(machine),
        "CHANGELOG.md": _changelog(),
        "metadata.yaml": marketplace.metadata(machine),
        "context.yaml": marketplace.certification_context(machine),
        "tests.yaml": marketplace.certification_list(machine),
        f"tests/{marketplace.certification_file(machine)}": certification_test(machine),
    }
    return {f"{machine.appliance}/{file}": text for file, text in files.items()}


def _write(path: Path, content: str | Link) -> None:
    # Never write through what was a link before.
    if path.is_symlink() or isinstance(content, Link):
        path.unlink(missing_ok=True)
    if isinstance(content, Link):
        path.symlink_to(content.target)
        return
    path.write_text(content, encoding="utf-8")
    if content.startswith("#!"):
        path.chmod(0o755)
