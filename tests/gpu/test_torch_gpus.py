"""The program that asks PyTorch answers whatever PyTorch and the environment are."""

import json
import os
import subprocess
import sys

import pytest

from oneflower.gpu import torch_gpus
from oneflower.gpu.programs import TORCH_GPUS

BUILD = "__version__ = '2.13'\nclass version: cuda = '13.0'\n"
FAILS = "def fails(): raise RuntimeError('driver broken')\nclass cuda: is_available = staticmethod(fails)\n"
WARNS = "import warnings\nwarnings.warn('old', DeprecationWarning)\n"
NONE = "class version: cuda = None\nclass cuda: is_available = staticmethod(lambda: False)\n"


def answer(folder, **environ):
    """Run it as `python -m` does, with the PyTorch of a folder."""
    ran = subprocess.run(
        [sys.executable, "-P", "-m", TORCH_GPUS],
        env={**os.environ, "PYTHONPATH": str(folder), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stderr == ""
    return json.loads(ran.stdout)


def test_the_name_is_that_of_the_module():
    assert torch_gpus.__name__ == TORCH_GPUS


def test_warnings_that_are_errors_change_no_answer(tmp_path):
    (tmp_path / "torch.py").write_text(BUILD + WARNS + NONE)
    said = answer(tmp_path, PYTHONWARNINGS="error")
    assert said == {"torch": "2.13", "cuda": None, "available": False, "devices": []}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (BUILD + FAILS, "driver broken"),
        (BUILD + FAILS.replace("RuntimeError('driver broken')", "KeyError()"), "KeyError"),
        (BUILD, "has no attribute 'cuda'"),
        ("", "has no attribute '__version__'"),
        ("raise OSError('libcudart')", "cannot be imported: libcudart"),
    ],
)
def test_a_pytorch_that_fails_is_an_error(tmp_path, text, error):
    (tmp_path / "torch.py").write_text(text)
    assert error in answer(tmp_path)["error"]
