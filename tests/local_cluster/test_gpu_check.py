"""What is missing of the GPUs is named before round 1, in one line."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from oneflower.errors import GpuError
from oneflower.gpu.seen_by_torch import Seen
from oneflower.local_cluster import gpu_check
from oneflower.local_cluster.gpu_check import GpuCheck, check_gpus
from oneflower.settings import Settings

ON = Settings(gpu_enabled=True)
CUDA = {"torch": "2.13.0", "cuda": "13.0"}


def machine(count, *, has_torch=True, has_gpu=True, **said):
    """A machine whose CUDA drops what stands after the first device that is not there."""

    def look(environ):
        assert environ["ONEFLOWER_GPU"] == "YES"
        given = environ.get("CUDA_VISIBLE_DEVICES")
        visible = list(range(count)) if given is None else []
        for name in (given or "").split(","):
            if not name.isdigit() or int(name) >= count:
                break
            visible.append(int(name))
        return Seen(names=tuple(f"GPU {each}" for each in visible), **(CUDA | said))

    return GpuCheck(look=look, has_torch=lambda: has_torch, has_gpu=lambda: has_gpu)


def failing(environ):
    raise AssertionError("it was looked at")


def test_nothing_is_looked_at_without_gpus():
    assert check_gpus(Settings(), {}, GpuCheck(look=failing)) == ""


@pytest.mark.parametrize("devices", ["all", "0", "1,0"])
def test_gpus_that_are_there_are_no_news(devices):
    assert check_gpus(replace(ON, cuda_visible_devices=devices), {}, machine(2)) == ""


def test_a_number_that_is_not_there_is_named():
    said = check_gpus(replace(ON, cuda_visible_devices="7"), {}, machine(2))
    assert said.startswith(
        "FL_GPU_ENABLED=YES, and processors train: FL_CUDA_VISIBLE_DEVICES=7 names 7, which"
    )
    assert "this machine has 2 GPUs, numbers 0 to 1" in said


def test_a_list_of_which_cuda_would_drop_the_rest_is_named():
    said = check_gpus(replace(ON, cuda_visible_devices="0,5,1"), {}, machine(2))
    assert "only 1 GPU can be used" in said
    assert "names 5" in said


@pytest.mark.parametrize("given", ["", "-1"])
def test_an_environment_that_hides_them_is_named(monkeypatch, given):
    monkeypatch.setattr("oneflower.gpu.unusable.has_gpu", lambda _: True)
    assert f"CUDA_VISIBLE_DEVICES is {given!r}" in check_gpus(ON, {"CUDA_VISIBLE_DEVICES": given}, machine(2))


@pytest.mark.parametrize(
    ("said", "has_gpu", "remedy"),
    [
        ({"cuda": None, "torch": "2.13.0+cpu"}, True, "pip install"),
        ({"cuda": None, "torch": "2.13.0+cpu"}, False, "FL_GPU_ENABLED=NO"),
        ({"error": "the driver is too old"}, True, "nvidia-smi"),
        (
            {"torch": "", "cuda": None, "error": "PyTorch cannot be imported: libcudart"},
            True,
            "oneflower.gpu.torch_gpus",
        ),
    ],
)
def test_each_cause_has_its_remedy(monkeypatch, said, has_gpu, remedy):
    monkeypatch.setattr("oneflower.gpu.unusable.has_gpu", lambda _: has_gpu)
    warned = check_gpus(ON, {}, machine(0, **said))
    assert remedy in warned
    assert "\n" not in warned
    with pytest.raises(GpuError, match="FL_GPU_REQUIRED=YES, and no GPU can be used") as error:
        check_gpus(replace(ON, gpu_required=True), {}, machine(0, **said))
    assert error.value.exit_code == 8


def test_the_command_that_a_remedy_names_prints_what_pytorch_says():
    command = re.search(r"`python (.+)`", gpu_check.HOW_TO_ASK)[1].split()
    ran = subprocess.run([sys.executable, *command], capture_output=True, timeout=120, check=True)
    assert json.loads(ran.stdout)["torch"]
    assert ran.stderr == b""


def test_without_pytorch_the_bus_decides():
    assert check_gpus(ON, {}, machine(0, has_torch=False)) == ""
    assert "no NVIDIA GPU" in check_gpus(ON, {}, machine(0, has_torch=False, has_gpu=False))


def test_it_asks_in_a_process_that_ends(monkeypatch):
    """CUDA must not start in a process that forks."""
    assert GpuCheck().look is gpu_check.seen_by_torch
