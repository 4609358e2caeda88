"""`app check` names what is not deterministic on CUDA, and lines that choose a device themselves."""

import importlib.util
import sys
import warnings
from itertools import count

import pytest
import torch

from oneflower.findings import Outcome
from oneflower.lab.app_check import cuda
from oneflower.lab.app_check.cuda import Watched, check_cuda, places_of, watched

NUMBERS = count()
ON = {"ONEFLOWER_GPU": "YES"}


@pytest.fixture
def app(tmp_path):
    """Load a module of an app in this process."""
    loaded = []

    def load(text):
        name = f"lab_cuda_{next(NUMBERS)}"
        path = tmp_path / f"{name}.py"
        lines = text.replace("\n", "\n    ")
        path.write_text(f"def never():\n    {lines}\n")
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        loaded.append(name)
        return tmp_path

    yield load
    for name in loaded:
        del sys.modules[name]


@pytest.fixture
def gpu(monkeypatch):
    """Let PyTorch have a GPU on which the client has computed."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 1 << 20)


@pytest.mark.parametrize(
    ("text", "said", "guarded"),
    [
        ("model.cuda()", ".cuda()", False),
        ("x.to('cuda:0')", "'cuda:0'", False),
        ("on = 'cuda' if torch.cuda.is_available() else 'cpu'", "'cuda'", True),
        ("if torch.cuda.is_available(): model.cuda()", ".cuda()", True),
    ],
)
def test_a_line_that_names_cuda_is_found(app, text, said, guarded):
    (place,) = places_of(app(text))
    assert (place.line, place.said, place.guarded) == (2, said, guarded)


@pytest.mark.parametrize(
    "text",
    [
        "on.type == 'cuda'",
        "torch.cuda.is_available()",
        "torch.cuda.empty_cache()",
        "print('cuda is fast')",
        "on = device()",
    ],
)
def test_a_line_that_moves_nothing_is_none(app, text):
    assert places_of(app(text)) == []


def test_an_app_that_has_to_do_with_no_gpu_gets_no_finding(app):
    assert list(check_cuda(app("pass"), Watched(), {})) == []


def test_a_device_in_the_source_gets_a_hint(app, monkeypatch):
    monkeypatch.setattr(cuda, "has_gpu", lambda: False)
    device, gpu = check_cuda(app("x.to('cuda:0')"), Watched(), {})
    assert (device.outcome, gpu.outcome) == (Outcome.WARNING, Outcome.SKIPPED)
    assert ":2 ('cuda:0')" in device.found
    assert "oneflower.sdk.device.device()" in device.fix
    assert gpu.found == "not checked on a GPU: this machine has none"


def test_one_that_looks_first_works_and_gets_none_without_gpus(app):
    folder = app("on = 'cuda' if torch.cuda.is_available() else 'cpu'")
    assert [each.check for each in check_cuda(folder, Watched(), {})] == []
    assert [each.check for each in check_cuda(folder, Watched(), ON)] == ["device", "gpu"]


def test_where_no_gpu_is_it_says_that_it_was_not_checked(app):
    (gpu,) = check_cuda(app("pass"), Watched(), ON)
    assert gpu.outcome is Outcome.SKIPPED
    assert gpu.found.startswith("not checked on a GPU: this machine has none")


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("import torch\nmodel = torch.nn.Linear(2, 1)", True),
        ("import torch\nmodel.to(torch.get_default_device())\nx.device", False),
        ("import torch\nimport lightning", False),
        ("import sklearn", False),
    ],
)
def test_an_app_of_pytorch_that_never_asks_for_a_device_is_warned(app, text, warned, monkeypatch):
    """Without a GPU here nothing else would tell that it leaves those of the clients alone."""
    folder = app(text)
    found = [each for each in check_cuda(folder, Watched(), ON) if each.check == "device"]
    assert [each.outcome for each in found] == [Outcome.WARNING] * warned
    assert all("oneflower.sdk.device.device()" in each.fix for each in found)
    assert not [each for each in check_cuda(folder, Watched(), {}) if each.check == "device"]
    monkeypatch.setattr(cuda, "used_device", lambda: "cpu")
    assert not [each for each in check_cuda(folder, Watched(), ON) if each.check == "device"]


def test_a_gpu_on_which_the_client_trained_is_named(app, gpu):
    (found,) = check_cuda(app("pass"), Watched(), ON)
    assert found.outcome is Outcome.OK
    assert "NVIDIA H200" in found.found


def test_a_gpu_that_the_client_leaves_alone_is_a_warning(app, gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 0)
    (found,) = check_cuda(app("pass"), Watched(), ON)
    assert found.outcome is Outcome.WARNING


def test_operations_that_are_not_deterministic_are_named(app, gpu, monkeypatch):
    shown = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_: shown.append(str(message)))
    with watched() as seen:
        for _ in range(3):
            warnings.warn("cumsum_cuda_kernel does not have a deterministic implementation", stacklevel=1)
        warnings.warn("Memory Efficient attention defaults to a non-deterministic algorithm", stacklevel=1)
        warnings.warn("this is not deterministic: something else", stacklevel=1)
    assert shown == ["this is not deterministic: something else"]
    (found,) = check_cuda(app("pass"), seen, ON)
    assert found.outcome is Outcome.WARNING
    assert "cumsum_cuda_kernel, Memory Efficient attention" in found.found


def test_many_and_long_names_are_bounded():
    seen = Watched()
    for number in range(1000):
        seen.note(f"op_{number} does not have a deterministic implementation")
    seen.note("x" * 10_000 + " does not have a deterministic implementation")
    assert len(seen.operations) == 20


@pytest.mark.parametrize(
    "text",
    [
        "total = " + " + ".join(["1"] * 1500),
        "if x == 0:\n    pass\n" + "".join(f"elif x == {n}:\n    pass\n" for n in range(1, 990)),
    ],
    ids=["sum", "elif"],
)
def test_a_deep_module_is_read(app, text):
    """Python imports it, so it is no problem of the app."""
    assert len(places_of(app(f"x = 5\n{text}\nmodel.cuda()\n"))) == 1
