"""The VM template of a SuperNode with GPUs is one that OpenNebula takes, and `--gpu` names GPUs alone."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from oneflower.errors import SettingsError
from oneflower.opennebula.roles import Machine
from oneflower.opennebula.templates.answers import service_answers
from oneflower.opennebula.templates.oneflow import Form, service
from oneflower.opennebula.templates.passthrough import (
    HUGEPAGE_SIZES_MIB,
    MEMORY_MIB,
    Passthrough,
    checked_firmware,
    checked_hugepages,
    parse_gpus,
)
from oneflower.opennebula.templates.vm import vm_template
from oneflower.settings import resolve

from .oned_template import parse

SCHEMAS = Path(__file__).parent / "schemas"
FORMS = pytest.mark.parametrize("form", list(Form))
SCHEMA = json.loads((SCHEMAS / "vm-gpu.json").read_text())


def read(*gpus, **options):
    """Return a template as oned reads it: the last of each name, and all of PCI."""
    text = vm_template(Machine.SUPERNODE, passthrough=Passthrough(gpus=parse_gpus(gpus), **options))
    pairs = parse(text)
    return {**dict(pairs), "PCI": [value for name, value in pairs if name == "PCI"]}


@pytest.mark.parametrize("hugepage_mib", [0, *HUGEPAGE_SIZES_MIB])
@pytest.mark.parametrize("firmware", ["UEFI", "/usr/share/OVMF/OVMF_CODE.fd"])
@pytest.mark.parametrize("gpus", [("01:00.0",), ("10de:2330",), ("41:00.4", "10de:2330:0302")])
def test_the_template_is_what_opennebula_takes(gpus, firmware, hugepage_mib):
    found = read(*gpus, firmware=firmware, hugepage_mib=hugepage_mib)
    jsonschema.validate(found, SCHEMA)
    assert len(found["PCI"]) == len(gpus)
    assert found["OS"]["FIRMWARE"] == firmware


@pytest.mark.parametrize("hugepage_mib", [0, *HUGEPAGE_SIZES_MIB])
def test_the_processors_and_pages_add_up(hugepage_mib):
    """oned: ``Total threads per core and socket needs to match VCPU``; CPU of a pinned VM becomes VCPU."""
    found = read("01:00.0", hugepage_mib=hugepage_mib)
    topology = found["TOPOLOGY"]
    product = int(topology["SOCKETS"]) * int(topology["CORES"]) * int(topology["THREADS"])
    assert str(product) == found["VCPU"] == found["CPU"]
    assert int(found["MEMORY"]) % int(topology.get("HUGEPAGE_SIZE", 1)) == 0


def test_a_machine_without_a_gpu_is_not_pinned():
    names = {name for name, _ in parse(vm_template(Machine.SUPERNODE))}
    assert not names & {"PCI", "TOPOLOGY", "OS", "FL_GPU_ENABLED"}


@pytest.mark.parametrize(
    ("text", "attributes"),
    [
        ("01:00.0", {"SHORT_ADDRESS": "01:00.0"}),
        (" C1:1F.7 ", {"SHORT_ADDRESS": "c1:1f.7"}),
        ("10DE:2330", {"VENDOR": "10de", "DEVICE": "2330"}),
        ("10de:2330:0302", {"VENDOR": "10de", "DEVICE": "2330", "CLASS": "0302"}),
        ("10de::0300", {"VENDOR": "10de", "CLASS": "0300"}),
    ],
)
def test_a_gpu_is_an_address_or_a_kind(text, attributes):
    (gpu,) = parse_gpus([text])
    assert gpu.attributes == attributes


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["1:0.0"], "expected a short address such as 01:00.0"),
        (["0000:01:00.0"], "leave the domain out"),
        (["01:20.0"], "a slot from 00 to 1f"),
        (["01:00.8"], "a function from 0 to 7"),
        (["8086:1234"], "its vendor is 8086, and only NVIDIA's GPUs are used"),
        (["10de:2330:0200"], "its class is 0200, which is a network card; expected a GPU"),
        (["10de:1aef:0403"], "the audio function"),
        (["10de:2330:1234"], "its class is 1234; expected a GPU"),
        (["10de:"], "it names every device of NVIDIA"),
        (["10de"], "expected a short address"),
        ([""], "expected a short address"),
        (['01:00.0"\n'], "expected a short address"),
        (["\u0660\u0661:00.0"], "expected a short address"),
        (["01:00.0", "01:00.0"], "is given twice"),
        (["0A:00.0", "0a:00.0"], "is given twice"),
        (["01:00.1"], "function 1 is the card's audio; expected the GPU, which is function 0: --gpu 01:00.0"),
    ],
)
def test_what_is_no_gpu_is_refused(texts, reason):
    with pytest.raises(SettingsError, match=re.escape(reason)):
        parse_gpus(texts)


def test_two_of_a_kind_and_two_virtual_gpus_are_two():
    assert len(read("10de:2330", "10de:2330")["PCI"]) == 2
    assert len(read("41:00.4", "41:00.5")["PCI"]) == 2


def test_pages_that_no_host_has_or_that_do_not_add_up_are_refused():
    with pytest.raises(SettingsError, match="expected 2 or 1024"):
        checked_hugepages(4, MEMORY_MIB)
    with pytest.raises(SettingsError, match="expected a multiple of 1024 MiB"):
        checked_hugepages(1024, 1536)
    assert checked_hugepages(0, 1) == 0


@pytest.mark.parametrize("text", ["", "BIOS", "OVMF_CODE.fd", '/a"b', "/a b"])
def test_a_firmware_is_uefi_or_a_path(text):
    with pytest.raises(SettingsError, match="expected UEFI"):
        checked_firmware(text)
    assert checked_firmware("uefi") == "UEFI"


def test_a_superlink_trains_nothing():
    with pytest.raises(SettingsError, match="template of the SuperNode"):
        vm_template(Machine.SUPERLINK, passthrough=Passthrough(gpus=parse_gpus(["01:00.0"])))


@FORMS
@pytest.mark.parametrize("all_inputs", [False, True])
def test_a_service_with_gpus_asks_for_their_variables(form, all_inputs):
    schema = json.loads((SCHEMAS / f"oneflow-{form}.json").read_text())
    found = service(form, gpu=True, all_inputs=all_inputs)
    jsonschema.validate(found, schema)
    inputs = found["custom_attrs" if form is Form.SIX else "user_inputs"]
    assert inputs["FL_GPU_ENABLED"].endswith("|YES")
    assert {"FL_CUDA_VISIBLE_DEVICES", "FL_GPU_MEMORY_FRACTION", "FL_GPU_REQUIRED"} < set(inputs)
    if form is Form.SIX:
        superlink, supernode = found["roles"]
        assert 'FL_GPU_ENABLED = "$FL_GPU_ENABLED"' in supernode["vm_template_contents"]
        assert "FL_GPU_" not in superlink["vm_template_contents"]


@FORMS
def test_the_answers_of_a_service_with_gpus_use_them(form):
    key = "custom_attrs_values" if form is Form.SIX else "user_inputs_values"
    values = service_answers(form, ["FL_GPU_MEMORY_FRACTION=0.4"], network=0, gpu=True)[0][key]
    assert set(values) == set(service(form, gpu=True)["custom_attrs" if form is Form.SIX else "user_inputs"])
    settings = resolve(values).settings
    assert (settings.gpu_enabled, settings.gpu_memory_fraction) == (True, 0.4)
    off = service_answers(form, ["FL_GPU_ENABLED=no"], network=0, gpu=True)[0][key]
    assert off["FL_GPU_ENABLED"] == "NO"
