"""A process that is forked has never started CUDA; with stubs of `torch.cuda`, so that no GPU is needed."""

import sys
import types

import pytest
import torch
from flwr.app import RecordDict

from oneflower.flower.calls.control import Control, with_control
from oneflower.flower.v1_25.warm import cuda
from oneflower.flower.v1_25.warm.cuda import is_poisoned, uses_cuda

# In the process that has imported the app every question to CUDA is written down and fails; in its children
# there are two GPUs.
STUBS = """
import os
from pathlib import Path
import torch
from oneflower.sdk.client import set_determinism
from oneflower.sdk.device import device
from oneflower.sdk.torch_app import beside, load_arrays, model_arrays

PARENT, ASKED, STARTED = os.getpid(), Path({folder!r}, "asked"), []

def stub(name, answer):
    def asked(*args, **kwargs):
        if os.getpid() == PARENT:
            with ASKED.open("a") as file:
                file.write(name + "\\n")
            raise AssertionError("CUDA was asked before the fork: " + name)
        STARTED.append(name)
        return answer
    setattr(torch.cuda, name, asked)

for name, answer in [("is_available", True), ("device_count", 2), ("init", None), ("_lazy_init", None),
                     ("set_device", None), ("current_device", 0), ("get_device_name", "NVIDIA H200"),
                     ("get_device_properties", None), ("get_device_capability", (9, 0)),
                     ("is_bf16_supported", True), ("mem_get_info", (0, 0)), ("empty_cache", None),
                     ("set_per_process_memory_fraction", None), ("get_rng_state_all", []),
                     ("get_rng_state", None), ("set_rng_state_all", None), ("synchronize", None)]:
    stub(name, answer)
torch.cuda.is_initialized = lambda: bool(STARTED)
torch.cuda._is_in_bad_fork = lambda: False

@app.train()
def train(message, context):
    import torch.nn.utils.parametrizations  # the zygote imports this late
    set_determinism(1, 2, 3)
    chosen = device()
    said = {{"index": chosen.index, "started": len(STARTED), "parent": int(os.getpid() == PARENT)}}
    return Message(RecordDict({{"m": MetricRecord(said)}}), reply_to=message)
"""


@pytest.fixture
def with_gpus(warm, monkeypatch):
    monkeypatch.setenv("ONEFLOWER_GPU", "YES")
    monkeypatch.setenv("ONEFLOWER_GPU_FRACTION", "0.4")
    warm.nursery.forget()  # the next one starts in this environment
    warm.node_config = {"partition-id": 3, "num-partitions": 4}
    return warm


def test_loading_an_app_messages_and_late_imports_start_no_cuda_before_the_fork(with_gpus, tmp_path):
    warm, fab = with_gpus, with_gpus.fab(STUBS.format(folder=str(tmp_path)))
    content = with_control(RecordDict(), Control(training="0" * 8, session="0" * 8, round=1, seed=42))
    for _ in range(2):
        zygote, error = warm.load(fab)
        assert (error, zygote.unforkable) == (None, "")
        reply = warm.run(zygote, content)
        assert not reply.has_error(), reply.error.reason
        assert dict(reply.content.metric_records["m"]) == {"index": 1, "started": 6, "parent": 0}
        assert zygote.settle() == ""
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("torch.cuda.is_initialized = lambda: True", "initialises CUDA"),
        # As after torch.cuda.device_count() by CUDA itself: cuInit has run, PyTorch is not initialised.
        ("torch.cuda._is_in_bad_fork = lambda: os.getpid() != PARENT", "asks CUDA for its GPUs"),
    ],
)
def test_an_app_that_starts_cuda_at_import_is_not_forked(warm, source, reason):
    head = "import os\nimport torch\nPARENT = os.getpid()\n"
    zygote, error = warm.load(warm.fab(head + source))
    assert error is None
    assert reason in zygote.unforkable
    assert "oneflower.sdk.device.device()" in zygote.unforkable


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/dev/nvidiactl", ""),  # NVML opens these, too
        ("/dev/nvidia0", ""),
        ("/dev/nvidia-uvm-tools", ""),
        ("/dev/nvidia-uvm", cuda.OPENED),
        ("/dev/nvidia-uvm (deleted)", cuda.OPENED),
        ("/run/nvidia/dev/nvidia-uvm", cuda.OPENED),
        ("/dev/dxg", cuda.OPENED),
        ("socket:[123]", ""),
    ],
)
def test_a_process_that_has_opened_cudas_memory_has_started_it(tmp_path, target, reason):
    (tmp_path / "3").symlink_to(target)
    assert uses_cuda(tmp_path) == reason


def test_this_process_has_not_started_it():
    assert uses_cuda() == ""
    assert not is_poisoned()


def test_a_stub_of_torch_has_started_nothing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", None)
    assert not is_poisoned()


def test_another_package_of_its_name_has_started_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    assert uses_cuda() == ""
    assert not is_poisoned()


def test_the_child_that_probes_ends_there_whatever_is_raised(warm):
    head = "import os\nimport torch\nPARENT = os.getpid()\n"
    source = "def fails():\n    raise SystemExit(0)\ntorch.cuda._is_in_bad_fork = fails\n"
    zygote, error = warm.load(warm.fab(head + source))
    assert error is None
    assert zygote.unforkable == cuda.UNKNOWN
