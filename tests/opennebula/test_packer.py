"""The recipes of the disk images, held against the two repositories that build them.

What is stated of them was read in their sources: one-apps at ae5a43e (``packer/build.sh`` and
``packer/vars-common.pkr.hcl``, which it has since 7.2), and marketplace-community at fa6fbbd with the
one-apps that it pins, 58d6dea (``packer/build.sh`` and ``packer/common.pkr.hcl``).
"""

import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass

import hcl2
import pytest

from oneflower.opennebula.roles import Machine
from oneflower.opennebula.templates.catalogue import write_catalogue
from oneflower.opennebula.templates.packer import COMMUNITY, ONE_APPS

# What a recipe may take from one-apps.
ONE_APPS_FILES = (
    "appliances/lib/common.sh",
    "appliances/lib/functions.sh",
    "appliances/scripts/net-90-service-appliance",
    "appliances/scripts/net-99-report-ready",
    "appliances/service.sh",
    "export/debian12.qcow2",
    "packer/postprocess.sh",
)
PLUGIN = """\
packer {
  required_plugins {
    qemu = {
      source  = "github.com/hashicorp/qemu"
      version = "1.1.0"
    }
  }
}
"""


@dataclass(frozen=True)
class Layout:
    """A repository: what its build.sh passes with -var, and what its common file declares."""

    one_apps: str  # where one-apps lies in it
    start: str  # where Packer is run
    passed: frozenset[str]
    common: str
    declared: frozenset[str]
    prefix: str
    appliances: str


LAYOUTS = {
    ONE_APPS.name: Layout(
        one_apps=".",
        start=".",
        passed=frozenset(
            {"appliance_name", "distro", "version", "input_dir", "output_dir", "headless", "arch"}
        ),
        common="packer/vars-common.pkr.hcl",
        declared=frozenset(
            {
                "appliance_name",
                "distro",
                "version",
                "arch",
                "command_format",
                "input_dir",
                "output_dir",
                "headless",
                "arch_vars",
            }
        ),
        prefix="service_",
        appliances="appliances",
    ),
    COMMUNITY.name: Layout(
        one_apps="apps-code/one-apps",
        start="apps-code/community-apps",
        passed=frozenset({"appliance_name", "version", "input_dir", "output_dir", "headless", "arch"}),
        common="packer/common.pkr.hcl",
        declared=frozenset({"arch", "arch_vars"}),
        prefix="",
        appliances="appliances",
    ),
}


@pytest.fixture(params=[ONE_APPS, COMMUNITY], ids=lambda repository: repository.folder)
def repository(request):
    return request.param


@pytest.fixture
def checkout(repository, tmp_path):
    """A repository with what it has of its own, and our files where docs/deploy.md puts them."""
    layout, root, ours = LAYOUTS[repository.name], tmp_path / "repository", tmp_path / "appliances"
    one_apps = root / layout.one_apps
    for name in ONE_APPS_FILES:
        (one_apps / name).parent.mkdir(parents=True, exist_ok=True)
        (one_apps / name).write_text("")
    declarations = "".join(f'variable "{name}" {{}}\n' for name in sorted(layout.declared))
    (one_apps / layout.common).write_text(PLUGIN + declarations)
    write_catalogue(ours)
    for recipe in (ours / repository.recipes).glob(f"{layout.prefix}*/"):
        shutil.copytree(recipe, root / layout.start / "packer" / recipe.name, symlinks=True)
    for appliance in ours.glob("oneflower-super*"):
        shutil.copytree(appliance, root / layout.appliances / appliance.name)
    (root / layout.appliances / "image").mkdir()
    return root / layout.start


def _recipe(folder):
    """Return all that Packer loads from a folder: every *.pkr.hcl, linked ones too."""
    files = sorted(folder.glob("*.pkr.hcl"))
    return [hcl2.loads(file.read_text()) for file in files]


def _names(blocks):
    return [name.strip('"') for block in blocks for name in block]


@pytest.mark.parametrize("machine", list(Machine))
def test_every_variable_is_declared_once_and_none_is_missing(checkout, repository, machine):
    """Packer refuses a variable that is passed and not declared, and one that is declared twice."""
    loaded = _recipe(checkout / "packer" / repository.build_name(machine))
    declared = Counter(_names(block for document in loaded for block in document.get("variable", [])))
    used = set(re.findall(r"var\.([a-z_]+)", json.dumps(loaded)))
    assert set(declared.values()) == {1}
    assert LAYOUTS[repository.name].passed <= set(declared)
    assert used <= set(declared)


@pytest.mark.parametrize("machine", list(Machine))
def test_the_qemu_plugin_is_required_once(checkout, repository, machine):
    loaded = _recipe(checkout / "packer" / repository.build_name(machine))
    assert sum(len(document.get("packer", [])) for document in loaded) == 1


@pytest.mark.parametrize("machine", list(Machine))
def test_every_file_that_it_names_is_there(checkout, repository, machine):
    folder = checkout / "packer" / repository.build_name(machine)
    text = (folder / f"{machine.appliance}.pkr.hcl").read_text()
    own = set(re.findall(r"\$\{var\.input_dir\}/([\w.-]+\.sh|gen_context)", text))
    assert own == {"gen_context", "81-configure-ssh.sh", "82-configure-context.sh"}
    assert all((folder / name).is_file() for name in own)
    paths = set(re.findall(r'"((?:\.\./|appliances/|packer/|export/)[^"$]+)"', text))
    assert len(paths) == len(ONE_APPS_FILES) + 2
    assert not [path for path in paths if not (checkout / path).exists()]


@pytest.mark.parametrize("machine", list(Machine))
def test_every_source_that_is_built_is_defined(checkout, repository, machine):
    (recipe,) = [
        document
        for document in _recipe(checkout / "packer" / repository.build_name(machine))
        if "build" in document
    ]
    sources = {
        f"source.{kind}.{name}".replace('"', "")
        for block in recipe["source"]
        for kind, named in block.items()
        for name in named
    }
    assert {name.strip('"') for build in recipe["build"] for name in build["sources"]} == sources


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_builds_the_base_image_first(checkout, repository, tmp_path):
    """The lines for Makefile.local, read between a configuration and rules such as both repositories have."""
    for folder in (checkout, checkout / repository.one_apps):
        (folder / "export/debian12.qcow2").unlink(missing_ok=True)
        (folder / "Makefile").write_text(
            ".DEFAULT_GOAL := help\nDIR_EXPORT := export\nSERVICES := other\n-include Makefile.local\n"
            "$(SERVICES) debian12: %: packer-%\npacker-%: $(DIR_EXPORT)/%.qcow2\n\t@true\n"
            "$(DIR_EXPORT)/%.qcow2:\n\t@mkdir -p $(DIR_EXPORT)\n\t@echo building $*\n\t@touch $@\nhelp:\n"
        )
    shutil.copy(tmp_path / "appliances" / repository.folder / "Makefile.local", checkout)
    names = [repository.build_name(machine) for machine in Machine]
    done = subprocess.run(["make", "-s", *names], cwd=checkout, capture_output=True, text=True, check=True)
    built = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("building")]
    assert built == ["debian12", *names]
    assert all((checkout / f"export/{name}.qcow2").is_file() for name in names)
