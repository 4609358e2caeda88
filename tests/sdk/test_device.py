"""The device of a PyTorch app, with a stub of torch.cuda: this machine needs no GPU."""

from types import SimpleNamespace

import pytest
import torch
from flwr.app import Context, RecordDict
from torch import nn

from oneflower.errors import GpuError
from oneflower.flower.calls.current_client import current_client
from oneflower.flower.calls.used_device import used_device
from oneflower.sdk import device as sdk
from oneflower.sdk.device import PROCESSOR, device, dtype_of
from oneflower.sdk.torch_app import beside

NAMES = ("is_available", "init", "device_count", "set_device", "set_per_process_memory_fraction")


@pytest.fixture
def gpus(monkeypatch):
    """Let PyTorch have two GPUs, and FL_GPU_ENABLED=YES; note what is set."""
    made = SimpleNamespace(count=2, capability=(9, 0), fraction=None, current=None, logged=[])
    cuda = torch.cuda
    monkeypatch.setattr(cuda, "is_available", lambda: made.count > 0)
    monkeypatch.setattr(cuda, "init", lambda: None)
    monkeypatch.setattr(cuda, "device_count", lambda: made.count)
    monkeypatch.setattr(cuda, "set_device", lambda on: vars(made).update(current=on))
    monkeypatch.setattr(
        cuda,
        "set_per_process_memory_fraction",
        lambda share, on: vars(made).update(fraction=(share, on.index)),
    )
    monkeypatch.setattr(cuda, "get_device_name", lambda on: f"NVIDIA H200 {on.index}")
    monkeypatch.setattr(cuda, "get_device_capability", lambda _: made.capability)
    monkeypatch.setattr(sdk, "log", lambda _level, text: made.logged.append(text))
    monkeypatch.setattr(sdk, "_told", bytearray(3))
    for name in ("deterministic", "benchmark", "allow_tf32"):
        monkeypatch.setattr(torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))
    for name in ("ONEFLOWER_GPU_REQUIRED", "ONEFLOWER_GPUS_CHOSEN", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ONEFLOWER_GPU", "YES")
    monkeypatch.setenv("ONEFLOWER_GPU_FRACTION", "0.4")
    yield made
    torch.use_deterministic_algorithms(False)


def on_client(partition=0):
    node = {"partition-id": partition, "num-partitions": 10}
    return current_client(Context(run_id=1, node_id=1, node_config=node, state=RecordDict(), run_config={}))


def test_without_gpus_it_is_the_processor_and_cuda_is_not_asked(monkeypatch):
    def fail(*_):
        raise AssertionError("CUDA was asked")

    for name in NAMES:
        monkeypatch.setattr(torch.cuda, name, fail)
    monkeypatch.setenv("ONEFLOWER_GPU", "NO")
    with on_client():
        assert device() == PROCESSOR
    assert used_device() == "cpu"


@pytest.mark.parametrize(("partition", "index"), [(0, 0), (1, 1), (2, 0), (7, 1)])
def test_each_client_has_the_gpu_of_its_partition(gpus, partition, index):
    with on_client(partition):
        assert device() == torch.device("cuda", index)
    assert gpus.current == torch.device("cuda", index)
    assert gpus.fraction == (0.4, index)
    assert used_device() == f"NVIDIA H200 {index}"


def test_it_computes_the_same_bits_again(gpus):
    with on_client():
        device()
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_an_app_that_forbids_other_algorithms_keeps_that(gpus):
    torch.use_deterministic_algorithms(True)
    with on_client():
        device()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()


def test_outside_of_a_message_cuda_is_not_started(gpus, monkeypatch):
    """At import the warm executor has not forked yet; a ServerApp has no GPU."""

    def fail(*_):
        raise AssertionError("CUDA was asked")

    for name in NAMES:
        monkeypatch.setattr(torch.cuda, name, fail)
    assert device() == device() == PROCESSOR
    (said,) = gpus.logged
    assert "outside of a message" in said


def test_without_a_usable_gpu_the_processor_trains_with_one_warning(gpus):
    gpus.count = 0
    with on_client():
        assert device() == device() == PROCESSOR
    (said,) = gpus.logged
    assert said.startswith("FL_GPU_ENABLED=YES, and the processor trains: ")
    assert "To mend it: " in said
    assert used_device() == "cpu"


def test_a_gpu_that_is_required_and_not_there_is_an_error(gpus, monkeypatch):
    gpus.count = 0
    monkeypatch.setenv("ONEFLOWER_GPU_REQUIRED", "YES")
    with pytest.raises(GpuError, match="FL_GPU_REQUIRED=YES, and no GPU can be used: "), on_client():
        device()


def test_on_a_vm_the_remedy_is_the_doctor(gpus, monkeypatch):
    gpus.count = 0
    monkeypatch.setenv("ONEFLOWER_GPUS_CHOSEN", "YES")
    with on_client():
        device()
    assert "oneflower appliance doctor" in gpus.logged[0]


def test_a_driver_that_fails_is_no_crash(gpus, monkeypatch):
    def init():
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040)")

    monkeypatch.setattr(torch.cuda, "init", init)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(
        sdk, "why_unusable", lambda **given: SimpleNamespace(reason=given["error"], remedy="x")
    )
    with on_client():
        assert device() == PROCESSOR
    assert "too old" in gpus.logged[0]


class TestPrecision:
    def test_bf16_where_the_gpu_has_it(self, gpus):
        assert dtype_of("bf16", torch.device("cuda", 0)) == torch.bfloat16
        assert dtype_of("float32", torch.device("cuda", 0)) == torch.float32

    @pytest.mark.parametrize("where", ["cpu", "cuda:0"])
    def test_elsewhere_float32_with_one_warning(self, gpus, where):
        gpus.capability = (7, 5)
        assert dtype_of("bf16", torch.device(where)) == torch.float32
        assert dtype_of("bf16", torch.device(where)) == torch.float32
        assert len(gpus.logged) == 1


class TestBatches:
    """`meta` stands for a GPU: a device to which tensors are moved."""

    def test_they_are_moved_to_the_model(self):
        model = nn.Linear(2, 1).to("meta")
        rows, labels = beside(model, (torch.ones(3, 2), torch.ones(3)))
        assert rows.device.type == labels.device.type == "meta"
        found = beside(model, {"x": [torch.ones(1)], "name": "one"})
        assert found["x"][0].device.type == "meta"
        assert found["name"] == "one"

    def test_on_the_processor_they_are_the_same_objects(self):
        batch = (torch.ones(3, 2), torch.ones(3))
        assert beside(nn.Linear(2, 1), batch) is batch
