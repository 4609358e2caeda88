"""PyTorch is asked for its GPUs in another process; whatever that prints is an answer."""

import os
import subprocess

import pytest
import torch

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
            b'noise\n{"torch": "2", "cuda": "13.0", "devices": [["A", 1], ["B", 2]]}\n',
            Seen(torch="2", cuda="13.0", names=("A", "B")),
        ),
        (b'{"torch": "2", "cuda": null}', Seen(torch="2")),
        (b'{"torch": 3, "cuda": [], "devices": {"a": 1}, "error": "no"}', Seen(error="no")),
        (b"{}", Seen()),
    ],
)
def test_an_answer_is_read_strictly(monkeypatch, printed, seen):
    ran = subprocess.CompletedProcess([], 0, printed, b"")
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: ran)
    assert seen_by_torch({}) == seen


@pytest.mark.parametrize("printed", [b"", b"Segmentation fault", b"[1]", b"[" * 100_000, b"\xff"])
def test_what_is_no_answer_says_so(monkeypatch, printed):
    ran = subprocess.CompletedProcess([], -11, printed, b"")
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: ran)
    assert "code -11" in seen_by_torch({}).error


def test_many_and_long_names_are_cut(monkeypatch):
    printed = b'{"devices": [' + b",".join([b'["' + b"x" * 600 + b'", 1]'] * 90) + b"]}"
    ran = subprocess.CompletedProcess([], 0, printed, b"")
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: ran)
    names = seen_by_torch({}).names
    assert len(names) == 64
    assert max(map(len, names)) < 600


def test_one_that_hangs_is_ended():
    assert "did not say within 0 s" in seen_by_torch(dict(os.environ), timeout_s=0.01).error
