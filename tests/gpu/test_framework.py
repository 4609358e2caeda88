"""The script that a container runs says what PyTorch can do, whatever PyTorch there is."""

import subprocess
import sys

import pytest

from oneflower.gpu import Ran
from oneflower.gpu.programs import TORCH_GPUS

from .machine import csv

# What the probe calls of PyTorch. `cuda` and `count` are filled in.
TORCH = """
class _Sum:
    def __mul__(self, other): return self
    def sum(self): return self
    def item(self): return {item}
class version: cuda = {cuda}
class _Properties: name, total_memory = "NVIDIA H200", 150 << 30
class cuda:
    is_available = staticmethod(lambda: {available})
    device_count = staticmethod(lambda: {count})
    get_device_properties = staticmethod(lambda index: _Properties)
    @staticmethod
    def init(): {init}
__version__ = "2.7.0"
def ones(count, device):
    assert device.startswith("cuda:")
    return _Sum()
"""
WORKS = {"cuda": "'12.8'", "available": True, "count": 1, "item": 16, "init": "pass"}


@pytest.fixture
def found(machine, tmp_path):
    """Return what detection finds with a PyTorch of this text."""

    def of(text, **more):
        modules = tmp_path / "modules"
        modules.mkdir()
        (modules / "torch.py").write_text(text)
        done = subprocess.run(
            [sys.executable, "-P", "-m", TORCH_GPUS],
            env={"PYTHONPATH": str(modules)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        machine.probe = Ran(code=done.returncode, out=done.stdout, err=done.stderr)
        machine.smi = Ran(code=0, out=csv(1))
        return machine.detect(**more)

    return of


def test_a_pytorch_that_computes(found):
    result = found(TORCH.format(**WORKS))
    assert result.usable
    assert result.seen[-1][1] == "PyTorch 2.7.0 for CUDA 12.8 computes on 1 of 1 GPUs"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cuda": None, "available": False}, "was built without CUDA"),
        ({"available": False, "init": "raise RuntimeError('driver is too old')"}, "the driver is too old"),
        ({"item": 15}, "GPU 0 computes a wrong sum"),
        ({"count": 0}, "sees 0 of 1 GPUs"),
        ({"available": False, "count": 0}, "is_available() is False"),
    ],
)
def test_a_pytorch_that_does_not(found, change, reason):
    assert reason in found(TORCH.format(**WORKS | change)).reason


def test_no_pytorch(found):
    assert "has no PyTorch" in found("raise ModuleNotFoundError('no module', name='torch')").reason


def test_no_pytorch_where_none_is_needed(found):
    assert found("raise ModuleNotFoundError('no module', name='torch')", needs_torch=False).usable


def test_a_pytorch_that_does_not_load(found):
    result = found("raise OSError('libcudart.so.12: cannot open shared object file')")
    assert "libcudart.so.12: cannot open" in result.reason
