"""The templates say everything that the table says, in the forms that OpenNebula reads."""

import json
import re
import shutil
import subprocess
from itertools import permutations
from pathlib import Path

import hcl2
import jsonschema
import pytest
import yaml

from oneflower.errors import SettingsError, StateError
from oneflower.opennebula.roles import Machine
from oneflower.opennebula.templates import machine as machines
from oneflower.opennebula.templates.catalogue import catalogue, write_catalogue
from oneflower.opennebula.templates.oneflow import Form, contents_6, service
from oneflower.opennebula.templates.syntax import attribute, template, vector
from oneflower.opennebula.templates.vm import vm_template
from oneflower.settings import TABLE, Role, user_input

ROOT = Path(__file__).parents[2]
APPLIANCES = ROOT / "appliances"
SCHEMAS = Path(__file__).parent / "schemas"
FILES = catalogue()
YAML_FILES = sorted(name for name in FILES if name.endswith(".yaml"))


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_checked_in_copy_is_current(name):
    """`oneflower template all` renews them."""
    assert (APPLIANCES / name).read_text(encoding="utf-8") == FILES[name]


def test_no_generated_file_is_left_over():
    entries = {path.relative_to(APPLIANCES).as_posix() for path in APPLIANCES.rglob("*-*-*-*-*.yaml")}
    assert entries == {name for name in FILES if re.search(r"/[0-9a-f-]{36}\.yaml$", name)}


def test_what_is_written_is_the_catalogue(tmp_path):
    write_catalogue(tmp_path)
    assert {
        p.relative_to(tmp_path).as_posix(): p.read_text() for p in tmp_path.rglob("*") if p.is_file()
    } == FILES


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="--output"):
        write_catalogue(tmp_path / "file")


@pytest.mark.parametrize("form", list(Form))
def test_the_service_is_what_oneflow_takes(form):
    schema = json.loads((SCHEMAS / f"oneflow-{form}.json").read_text())
    jsonschema.validate(service(form, superlink_template=4, supernode_template=5), schema)


@pytest.mark.parametrize("form", list(Form))
def test_the_service_asks_for_every_variable(form):
    inputs = service(form)["custom_attrs" if form is Form.SIX else "user_inputs"]
    assert inputs == {variable.name: user_input(variable) for variable in TABLE}


@pytest.mark.parametrize("form", list(Form))
def test_superlink_comes_first_and_is_one(form):
    superlink, supernode = service(form)["roles"]
    assert (superlink["cardinality"], superlink["min_vms"], superlink["max_vms"]) == (1, 1, 1)
    assert (supernode["min_vms"], supernode["max_vms"]) == (2, 10)
    assert supernode["parents"] == [superlink["name"]]


@pytest.mark.parametrize("machine", list(Machine))
def test_every_variable_of_a_role_reaches_its_context(machine):
    names = {v.name for v in TABLE if v.role in (Role.BOTH, machine.role)}
    text = vm_template(machine)
    for name in names:
        assert f'  {name} = "${name}"' in text
        assert f'{name} = "${name}"\n' in contents_6(machine)
    assert set(re.findall(r'= "\$(F[A-Z_]+|ML_FRAMEWORK)"', text)) == names
    for fixed in ("NETWORK", "TOKEN", "REPORT_READY"):
        assert f'  {fixed} = "YES"' in text


@pytest.mark.parametrize("machine", list(Machine))
def test_inputs_are_shown_in_the_order_of_the_table(machine):
    order = machines.inputs_order(machine).split(",")
    assert order == [v.name for v in TABLE if v.role in (Role.BOTH, machine.role)]


@pytest.mark.parametrize("machine", list(Machine))
def test_inputs_have_five_parts(machine):
    assert all(text.count("|") == 4 for text in machines.inputs(machine).values())


def test_no_substituted_name_begins_another():
    """OneFlow 6.10 replaces $KEY inside longer names too: names of networks count as well."""
    names = [*service(Form.SIX)["custom_attrs"], *service(Form.SIX)["networks"], "NAME", "USER"]
    assert not [(a, b) for a, b in permutations(names, 2) if b.startswith(a)]


def test_nothing_is_written_that_instantiation_would_refuse():
    """``${X}`` inside CONTEXT makes instantiation fail, and one in a role's contents replaces all."""
    assert not [
        name for name, text in FILES.items() if "${" in text and not name.endswith((".sh", ".rb", ".hcl"))
    ]
    assert all("CONTEXT" not in contents_6(machine) for machine in Machine)


@pytest.mark.parametrize("name", YAML_FILES)
def test_template_scalars_are_strings(name):
    """Other scalars vanish on their way into a VM template."""
    entry = yaml.safe_load(FILES[name])
    found = entry.get("opennebula_template") if isinstance(entry, dict) else None
    if not found or "roles" in found:
        return
    pending = [found]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += value.values()
        else:
            assert isinstance(value, str), value


def test_the_marketplace_gets_two_images_two_templates_and_the_service():
    entries = [
        yaml.safe_load(FILES[name]) for name in YAML_FILES if re.search(r"/[0-9a-f-]{36}\.yaml$", name)
    ]
    by_type = [entry["type"] for entry in entries]
    assert sorted(by_type) == ["IMAGE", "IMAGE", "SERVICE_TEMPLATE", "VMTEMPLATE", "VMTEMPLATE"]
    names = {entry["name"] for entry in entries}
    (composed,) = [entry for entry in entries if entry["type"] == "SERVICE_TEMPLATE"]
    assert set(composed["roles"].values()) <= names
    for entry in entries:
        assert set(entry.get("disks", [])) <= names
        assert "_" not in entry["name"]


@pytest.mark.parametrize("machine", list(Machine))
def test_the_marketplace_tests_use_bare_names(machine):
    metadata = yaml.safe_load(FILES[f"{machines.IMAGES[machine]}/metadata.yaml"])
    context = metadata[":app"][":context"]
    assert context[":prefixed"] is False
    assert set(context[":params"]) == {f":{variable.name}" for variable in machine.variables()}
    assert all(isinstance(value, str) for value in context[":params"].values())


@pytest.mark.parametrize("machine", list(Machine))
def test_service_params_are_four_words_a_variable(machine):
    script = FILES[f"{machines.IMAGES[machine]}/appliance.sh"]
    listing = subprocess.run(
        ["bash", "-c", 'source "$0"; printf "%s\\n" "${ONE_SERVICE_PARAMS[@]}"', "/dev/stdin"],
        input=script,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    expected = [(v.name, "configure", v.help, f"O|{v.kind}") for v in machine.variables()]
    assert list(zip(*[iter(listing)] * 4, strict=True)) == expected


@pytest.mark.skipif(shutil.which("yamllint") is None, reason="yamllint is not installed")
def test_yamllint_has_nothing_to_say():
    done = subprocess.run(
        ["yamllint", "--strict", "-c", str(APPLIANCES / ".yamllint"), str(APPLIANCES)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say():
    others = [ROOT / ".ci/run", ROOT / "tests/browser/get-tools"]
    scripts = sorted(
        str(path)
        for path in [*APPLIANCES.rglob("*"), *others]
        if path.is_file() and path.read_text(encoding="utf-8").startswith("#!")
    )
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("machine", list(Machine))
def test_packer_is_given_what_it_refers_to(machine):
    """The recipe reads as HCL: every variable is declared, every source defined, every script there."""
    folder = APPLIANCES / "packer" / f"service_{machines.IMAGES[machine]}"
    recipe, declared = (
        hcl2.loads((folder / name).read_text())
        for name in (f"{machines.IMAGES[machine]}.pkr.hcl", "variables.pkr.hcl")
    )
    text = json.dumps(recipe)
    names = {name.strip('"') for block in declared["variable"] for name in block}
    assert set(re.findall(r"var\.([a-z_]+)", text)) <= names
    scripts = re.findall(r"\$\{var\.input_dir\}/([\w.-]+\.sh)", text)
    assert scripts
    assert all((folder / script).is_file() for script in scripts)
    sources = {
        f"{kind}.{name}".replace('"', "")
        for block in recipe["source"]
        for kind, named in block.items()
        for name in named
    }
    used = {name.strip('"') for build in recipe["build"] for name in build["sources"]}
    assert {name.removeprefix("source.") for name in used} == sources


@pytest.mark.parametrize("value", ['a"b', "a\\b", "a\nb"])
def test_a_value_that_would_break_the_template_is_refused(value):
    with pytest.raises(SettingsError, match="quotes"):
        attribute("A", value)
    with pytest.raises(SettingsError, match="upper-case"):
        attribute("a b", "c")


def test_a_template_reads_as_opennebula_writes_it():
    assert template([attribute("A", "b"), vector("C", {"D": "e", "F": "g"})]) == (
        'A = "b"\nC = [\n  D = "e",\n  F = "g" ]\n'
    )
