"""PyTorch is asked for its GPUs in another process; whatever that prints is an answer."""

import os
import time

import pytest
import torch

from oneflower.gpu import Ran
from oneflower.gpu import seen_by_torch as module
from oneflower.gpu.seen_by_torch import Seen, seen_by_torch


def test_the_pytorch_of_this_python_answers():
    seen = seen_by_torch({**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    assert seen.torch == str(torch.__version__)
    assert seen.names == ()


@pytest.mark.parametrize(
    ("printed", "seen"),
    [
        (
            'noise\n{"torch": "2", "cuda": "13.0", "devices": [["A", 1], ["B", 2]]}\n',
            Seen(torch="2", cuda="13.0", names=("A", "B")),
        ),
        ('{"torch": "2", "cuda": null}', Seen(torch="2")),
        ('{"torch": 3, "cuda": [], "devices": {"a": 1}, "error": "no"}', Seen(error="no")),
        ("{}", Seen()),
    ],
)
def test_an_answer_is_read_strictly(monkeypatch, printed, seen):
    ran = Ran(code=0, out=printed)
    monkeypatch.setattr(module, "run_program", lambda *_, **__: ran)
    assert seen_by_torch({}) == seen


@pytest.mark.parametrize("printed", ["", "Segmentation fault", "[1]", "[" * 100_000, "\ufffd"])
def test_what_is_no_answer_says_so(monkeypatch, printed):
    ran = Ran(code=-11, out=printed)
    monkeypatch.setattr(module, "run_program", lambda *_, **__: ran)
    assert "code -11" in seen_by_torch({}).error


def test_many_and_long_names_are_cut(monkeypatch):
    printed = '{"devices": [' + ",".join(['["' + "x" * 600 + '", 1]'] * 90) + "]}"
    ran = Ran(code=0, out=printed)
    monkeypatch.setattr(module, "run_program", lambda *_, **__: ran)
    names = seen_by_torch({}).names
    assert len(names) == 64
    assert max(map(len, names)) < 600


def test_one_that_hangs_is_ended():
    assert "did not say within 0 s" in seen_by_torch(dict(os.environ), timeout_s=0.01).error


def test_a_child_that_pytorch_leaves_does_not_hold_it_up(tmp_path):
    (tmp_path / "torch.py").write_text(
        "import subprocess\nsubprocess.Popen(['sleep', '20'])\n__version__ = '2.13'\n"
        "class version: cuda = None\n"
        "class cuda: is_available = staticmethod(lambda: False)\n"
    )
    begun = time.monotonic()
    assert seen_by_torch({**os.environ, "PYTHONPATH": str(tmp_path)}) == Seen(torch="2.13")
    assert time.monotonic() - begun < 15
