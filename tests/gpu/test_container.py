"""CDI where engine and specification are there, else ``--gpus``; what Docker says may be anything."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.gpu import Ran
from oneflower.gpu.container import engine_of, is_argument

from .machine import INFO, MIG, PODMAN, UUIDS, cdi

RUNTIME = {"ServerVersion": "24.0.7", "Runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}}


@pytest.mark.parametrize(
    ("info", "known"),
    [
        (INFO, True),
        ({"ServerVersion": "25.0.3", "CDISpecDirs": ["/etc/cdi"]}, True),
        ({"ServerVersion": "28.2.2"}, False),
        ({"ServerVersion": "28.3.0"}, True),
        ({"ServerVersion": "28.3.0", "CDISpecDirs": None}, True),
        ({"ServerVersion": "29.0.0", "CDISpecDirs": []}, False),  # switched off
        ({"ServerVersion": "9" * 4000 + ".3"}, False),
        ({"ServerVersion": ["28"]}, False),
        ({"ServerVersion": "٢٩.٣"}, False),
        (PODMAN, True),
        ({"host": {}, "version": {"Version": "4.0.9"}}, False),
        ({"host": {}, "version": {"Version": None}}, False),
        ({}, False),
    ],
)
def test_which_engine_knows_cdi(info, known):
    assert engine_of(info).has_cdi is known


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
KEYS = st.sampled_from(["ServerVersion", "CDISpecDirs", "Runtimes", "version", "host"])


@given(st.dictionaries(KEYS, JSON))
def test_any_answer_of_docker_is_an_engine(info):
    assert engine_of(info).version


@pytest.mark.parametrize("where", ["etc/cdi/nvidia.yaml", "var/run/cdi/nvidia.json"])
def test_a_specification_in_either_folder_and_form(machine, where):
    (machine.root / "etc/cdi/nvidia.yaml").unlink()
    as_json = {"kind": "nvidia.com/gpu", "devices": [{"name": "all"}, {"name": "0"}]}
    machine.file(where, json.dumps(as_json) if where.endswith("json") else cdi("all"))
    assert machine.detect().arguments == ("--device=nvidia.com/gpu=all",)


@pytest.mark.parametrize("folder", ["/\ud800", "/\0", "/a\nb", "/" + "a" * 4000])
def test_a_folder_that_cannot_be_one_is_left_out(machine, folder):
    machine.info = Ran(code=0, out=json.dumps({**INFO, "CDISpecDirs": [folder, "/etc/cdi"]}))
    assert machine.detect().arguments == ("--device=nvidia.com/gpu=all",)


def test_what_is_no_file_is_no_specification(machine):
    os.mkfifo(machine.root / "etc/cdi/a.yaml")
    (machine.root / "etc/cdi/b.yaml").symlink_to("b.yaml")
    (machine.root / os.fsdecode(b"etc/cdi/\xff.yaml")).touch()
    assert machine.detect().usable


def test_a_specification_of_another_kind_is_none(machine):
    other = cdi("all").replace("nvidia.com/gpu", "nvidia.com/gpu-other")
    machine.file("etc/cdi/nvidia.yaml", other)
    machine.file("etc/cdi/readme.txt", cdi("all"))
    (machine.root / "etc/cdi/folder.yaml").mkdir()
    machine.file("etc/cdi/bytes.json").write_bytes(b"\xff\xfe" * 1000)
    assert "no CDI specification" in machine.detect().reason


def test_names_by_number_alone(machine):
    machine.file("etc/cdi/nvidia.yaml", cdi("0", "1"))
    expected = ("--device=nvidia.com/gpu=0", "--device=nvidia.com/gpu=1")
    assert machine.detect().arguments == machine.detect("0", "1").arguments == expected


def test_the_runtime_of_nvidia(machine):
    machine.info = Ran(code=0, out=json.dumps(RUNTIME))
    more = "--env=NVIDIA_DRIVER_CAPABILITIES=compute,utility"
    assert machine.detect().arguments == ("--gpus=all", more)
    assert machine.detect("1", "0").arguments == (f'--gpus="device={UUIDS[1]},{UUIDS[0]}"', more)


def information(uuid, minor):
    """As the driver writes it: names, a colon, white space."""
    lines = {"Model": "NVIDIA A100", "IRQ": 42, "GPU UUID": uuid, "Device Minor": minor, "GPU Excluded": "No"}
    return "".join(f"{name}: \t\t {value}\n" for name, value in lines.items())


def test_the_runtime_of_nvidia_is_told_of_the_device_nodes(machine):
    """Else a daemon-reload of systemd's takes the GPU from a container that runs."""
    machine.info = Ran(code=0, out=json.dumps(RUNTIME))
    for index, minor in enumerate((1, 0)):
        path = f"proc/driver/nvidia/gpus/0000:0{index}:00.0/information"
        machine.file(path, information(UUIDS[index], minor))
        machine.file(f"dev/nvidia{index}")
    assert machine.detect("0").arguments[2:] == (
        "--device=/dev/nvidiactl",
        "--device=/dev/nvidia-uvm",
        "--device=/dev/nvidia1",
    )
    assert {"--device=/dev/nvidia0", "--device=/dev/nvidia1"} < {*machine.detect().arguments}
    assert all(map(is_argument, machine.detect().arguments))


@pytest.mark.parametrize(
    "text",
    ["", information("GPU-????????-????-????-????-????????????", 0), f"GPU UUID: {UUIDS[0]}\n", "\xff"],
)
def test_nodes_that_are_not_known_are_not_named(machine, text):
    machine.info = Ran(code=0, out=json.dumps(RUNTIME))
    machine.file("proc/driver/nvidia/gpus/0000:01:00.0/information", text)
    assert [each.partition("=")[0] for each in machine.detect("0").arguments] == ["--gpus", "--env"]


def test_a_hook_on_the_machine_is_a_runtime(machine):
    machine.info = Ran(code=0, out=json.dumps({"ServerVersion": "24.0.7"}))
    assert not machine.detect().usable
    machine.file("usr/bin/nvidia-container-runtime-hook")
    assert machine.detect().arguments[0] == "--gpus=all"


@pytest.mark.parametrize(
    "text",
    [
        "--privileged",
        "--device=/dev/sda",
        "--device=/dev/nvidia0:/dev/sda",
        "--device=/dev/nvidia0/../sda",
        "--device=/dev/nvidia-modeset",
        "--gpus=all --privileged",
        '--gpus="device=0"x',
        "--device=nvidia.com/gpu=",
        "--device=nvidia.com/gpu=a/../../dev/sda:/dev/sda:rwm",
        "--device=nvidia.com/gpu=0/../../dev/sda",
        "--device=nvidia.com/gpu=0:/dev/sda",
        "--device=nvidia.com/gpu=1000",
        "--device=nvidia.com/gpu=٣",
        f"--device=nvidia.com/gpu={UUIDS[0]}:rwm",
        f'--gpus="device={UUIDS[0]},capabilities=all"',
        7,
        "--env=LD_PRELOAD=x",
        "--device=nvidia.com/gpu=all\n--privileged",
        "--gpus=all\n",
        None,
        ["--gpus=all"],
    ],
)
def test_no_other_argument_passes(text):
    assert not is_argument(text)


@pytest.mark.parametrize("device", ["all", "0", "999", "gpu3", UUIDS[0], MIG, f"MIG-{UUIDS[1]}/1/0"])
def test_each_name_of_a_gpu_passes(device):
    assert is_argument(f"--device=nvidia.com/gpu={device}")


def test_arguments_of_every_way_pass(machine):
    for info in (INFO, RUNTIME):
        machine.info = Ran(code=0, out=json.dumps(info))
        for wanted in ((), ("0",), ("0", "1")):
            found = machine.detect(*wanted)
            assert found.arguments
            assert all(map(is_argument, found.arguments))
