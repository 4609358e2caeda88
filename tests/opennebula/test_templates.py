"""The templates say everything that the table says, in the forms that OpenNebula reads."""

import json
import re
import shutil
import subprocess
from itertools import permutations
from pathlib import Path

import jsonschema
import pytest
import yaml

from oneflower.errors import SettingsError, StateError
from oneflower.opennebula.roles import Machine
from oneflower.opennebula.templates import vm
from oneflower.opennebula.templates.catalogue import catalogue, write_catalogue
from oneflower.opennebula.templates.oneflow import Form, contents_6, name_in, service
from oneflower.opennebula.templates.packer import Link
from oneflower.opennebula.templates.syntax import attribute, template, vector
from oneflower.opennebula.templates.vm import Share, vm_template
from oneflower.settings import TABLE, Role

ROOT = Path(__file__).parents[2]
APPLIANCES = ROOT / "appliances"
SCHEMAS = Path(__file__).parent / "schemas"
CATALOGUE = catalogue()
FILES = {name: content for name, content in CATALOGUE.items() if isinstance(content, str)}
LINKS = {name: content.target for name, content in CATALOGUE.items() if isinstance(content, Link)}
YAML_FILES = sorted(name for name in FILES if name.endswith(".yaml"))


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_checked_in_copy_is_current(name):
    """`oneflower template all` renews them."""
    assert (APPLIANCES / name).read_text(encoding="utf-8") == FILES[name]


@pytest.mark.parametrize("name", sorted(LINKS))
def test_the_checked_in_link_is_current(name):
    """Its target lies in the repository that builds, and not in this one."""
    assert str((APPLIANCES / name).readlink()) == LINKS[name]


def test_no_generated_file_is_left_over():
    by_hand = {"image", "logos", ".yamllint"}
    there = {path.relative_to(APPLIANCES) for path in APPLIANCES.rglob("*") if not path.is_dir()}
    assert {path.as_posix() for path in there if path.parts[0] not in by_hand} == set(CATALOGUE)


def test_what_is_written_is_the_catalogue(tmp_path):
    for _ in range(2):
        write_catalogue(tmp_path)
    paths = [path for path in tmp_path.rglob("*") if not path.is_dir()]
    written = {path.relative_to(tmp_path).as_posix(): path for path in paths}
    assert {name: str(path.readlink()) for name, path in written.items() if path.is_symlink()} == LINKS
    assert {name: path.read_text() for name, path in written.items() if not path.is_symlink()} == FILES


def test_a_file_is_not_written_through_a_link(tmp_path):
    write_catalogue(tmp_path)
    name, elsewhere = min(FILES), tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to(elsewhere)
    write_catalogue(tmp_path)
    assert elsewhere.read_text() == "mine"
    assert (tmp_path / name).read_text() == FILES[name]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="--output"):
        write_catalogue(tmp_path / "file")


@pytest.mark.parametrize("form", list(Form))
def test_the_service_is_what_oneflow_takes(form):
    schema = json.loads((SCHEMAS / f"oneflow-{form}.json").read_text())
    jsonschema.validate(service(form, superlink_template=4, supernode_template=5), schema)


@pytest.mark.parametrize("form", list(Form))
def test_the_service_asks_for_the_short_form_or_for_all(form):
    key = "custom_attrs" if form is Form.SIX else "user_inputs"
    short, whole = (service(form, all_inputs=all_inputs)[key] for all_inputs in (False, True))
    assert list(whole) == [name_in(form, variable) for variable in TABLE]
    assert [name for name in whole if name in short] == list(short)
    assert "FL_SEED" not in short
    assert short["FL_NUM_ROUNDS"] == whole["FL_NUM_ROUNDS"] == "O|number|Number of rounds||"


@pytest.mark.parametrize("all_inputs", [False, True])
def test_oneflow_6_is_told_of_no_input_that_nobody_answers(all_inputs):
    """It leaves the text $FL_SEED where it is, and that text would be the value."""
    value = service(Form.SIX, all_inputs=all_inputs)
    marks = {name for role in value["roles"] for name in re.findall(r"\$(\w+)", role["vm_template_contents"])}
    assert marks == {*value["custom_attrs"], *value["networks"]}


@pytest.mark.parametrize("machine", list(Machine))
def test_a_vm_template_asks_for_nothing_that_the_service_does_not(machine):
    """Sunstone asks for what is left over in a step of its own, for each role."""
    assert set(vm.inputs(machine)) <= set(service(Form.SIX)["custom_attrs"])


@pytest.mark.parametrize("form", list(Form))
def test_a_network_has_no_default(form):
    """Where there is one, `oneflow-template instantiate` asks for an id and uses the default all the same."""
    assert service(form)["networks"] == {"Private": "M|network|Network for the cluster||id:"}


@pytest.mark.parametrize("form", list(Form))
def test_the_supernodes_can_be_scaled_again_soon(form):
    """OneFlow's own cooldown is five minutes."""
    _, supernode = service(form)["roles"]
    assert supernode["cooldown"] == 60


@pytest.mark.parametrize("form", list(Form))
def test_superlink_comes_first_and_is_one(form):
    superlink, supernode = service(form)["roles"]
    assert (superlink["cardinality"], superlink["min_vms"], superlink["max_vms"]) == (1, 1, 1)
    assert (supernode["min_vms"], supernode["max_vms"]) == (2, 10)
    assert supernode["parents"] == [superlink["name"]]


@pytest.mark.parametrize("all_inputs", [False, True])
@pytest.mark.parametrize("machine", list(Machine))
def test_every_variable_of_a_role_reaches_its_context(machine, all_inputs):
    names = {v.name for v in TABLE if v.role in (Role.BOTH, machine.role)}
    text = vm_template(machine, all_inputs=all_inputs)
    context = text[text.index("CONTEXT = [") : text.index("USER_INPUTS = [")]
    assert set(re.findall(r'^  (\w+) = "\$\1"', context, re.MULTILINE)) == names
    for fixed in ("NETWORK", "TOKEN", "REPORT_READY"):
        assert f'  {fixed} = "YES"' in context


@pytest.mark.parametrize("all_inputs", [False, True])
@pytest.mark.parametrize("machine", list(Machine))
def test_inputs_are_shown_in_the_order_of_the_table(machine, all_inputs):
    expected = [v.name for v in machine.variables() if all_inputs or v.in_form]
    assert vm.inputs_order(machine, all_inputs=all_inputs).split(",") == expected
    text = vm_template(machine, all_inputs=all_inputs)
    inputs = text[text.index("USER_INPUTS = [") : text.index("INPUTS_ORDER")]
    assert re.findall(r'^  (\w+) = "O\|', inputs, re.MULTILINE) == expected


@pytest.mark.parametrize("machine", list(Machine))
def test_inputs_have_five_parts(machine):
    assert all(text.count("|") == 4 for text in vm.inputs(machine, all_inputs=True).values())


def test_no_substituted_name_begins_another():
    """OneFlow 6.10 replaces $KEY inside longer names too: names of networks count as well."""
    value = service(Form.SIX, all_inputs=True)
    names = [*value["custom_attrs"], *value["networks"], "NAME", "USER"]
    assert not [(a, b) for a, b in permutations(names, 2) if b.startswith(a)]


def test_nothing_is_written_that_instantiation_would_refuse():
    """``${X}`` inside CONTEXT makes instantiation fail, and one in a role's contents replaces all."""
    assert not [
        name
        for name, text in FILES.items()
        if "${" in text and not name.endswith((".sh", ".rb", ".hcl", "Makefile.local"))
    ]
    assert all("CONTEXT" not in contents_6(machine, all_inputs=True) for machine in Machine)


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


@pytest.mark.parametrize("machine", list(Machine))
def test_the_marketplace_tests_use_bare_names(machine):
    metadata = yaml.safe_load(FILES[f"{machine.appliance}/metadata.yaml"])
    context = metadata[":app"][":context"]
    assert context[":prefixed"] is False
    assert set(context[":params"]) == {f":{variable.name}" for variable in machine.variables()}
    assert all(isinstance(value, str) for value in context[":params"].values())


@pytest.mark.parametrize("machine", list(Machine))
def test_service_params_are_four_words_a_variable(machine):
    script = FILES[f"{machine.appliance}/appliance.sh"]
    listing = subprocess.run(
        ["bash", "-c", 'source "$0"; printf "%s\\n" "${ONE_SERVICE_PARAMS[@]}"', "/dev/stdin"],
        input=script,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    expected = [(v.name, "configure", v.help, f"O|{v.kind.input_type}") for v in machine.variables()]
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
        if path.is_file() and path.read_bytes().startswith(b"#!")
    )
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("image", "expected"), [("flower-models", 'IMAGE = "flower-models"'), ("21", 'IMAGE_ID = "21"')]
)
def test_a_shared_filesystem_is_mounted_where_the_machine_looks(image, expected):
    """OpenNebula 7.4 hands MOUNT_POINT to contextualization, which mounts it before the stages run."""
    text = vm_template(Machine.SUPERNODE, filesystems={Share.MODELS: image, Share.DATA: "5"})
    assert f'DISK = [\n  {expected},\n  MOUNT_POINT = "/opt/flower/models" ]\n' in text
    assert 'DISK = [\n  IMAGE_ID = "5",\n  MOUNT_POINT = "/opt/flower/data" ]\n' in text
    assert text.count("DISK = [") == 3
    text = vm_template(Machine.SUPERLINK, filesystems={Share.CHECKPOINTS: "6"})
    assert 'MOUNT_POINT = "/opt/flower/checkpoints"' in text


def test_a_supernode_has_no_checkpoints_to_mount():
    with pytest.raises(SettingsError, match="template of the SuperLink"):
        vm_template(Machine.SUPERNODE, filesystems={Share.CHECKPOINTS: "6"})


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
