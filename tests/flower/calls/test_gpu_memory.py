"""CUDA out of memory is an error reply that names the numbers and the remedy; the memory is given back."""

import gc
import weakref

import pytest
import torch
from flwr.app import Context, Message, RecordDict

from oneflower.errors import AppError
from oneflower.flower.calls import gpu_memory
from oneflower.flower.calls.call import call_client
from oneflower.flower.calls.current_client import client_number, is_client
from oneflower.flower.calls.gpu_memory import is_out_of_memory, out_of_memory
from oneflower.flower.calls.used_device import note_device, used_device

TORCH = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139.80 GiB of which "
    "81.25 GiB is free. Including non-PyTorch memory, this process has 55.10 GiB memory in use. 55.92 GiB "
    "allowed; Of the allocated memory 54.01 GiB is allocated by PyTorch, and 20.00 MiB is reserved by "
    "PyTorch but unallocated. If reserved but unallocated memory is large try setting PYTORCH_ALLOC_CONF."
)


def asked(app, state=None):
    context = Context(
        run_id=1, node_id=1, node_config={"partition-id": 3}, state=state or RecordDict(), run_config={}
    )
    return call_client(app, Message(RecordDict(), 1, "train"), context)


def test_the_reply_names_needed_allowed_free_and_total_memory_and_the_remedy():
    def app(message, context):
        raise torch.OutOfMemoryError(TORCH)

    reason = asked(app).error.reason
    for part in (
        "CUDA out of memory",
        "2.00 GiB needed at once",
        "55.10 GiB used by this client",
        "55.92 GiB allowed by FL_GPU_MEMORY_FRACTION",
        "81.25 GiB free on the GPU",
        "139.80 GiB in all",
        "batch-size",
        "fewer SuperNodes",
    ):
        assert part in reason


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_every_form_of_it_is_recognised(error):
    assert is_out_of_memory(error)
    assert isinstance(out_of_memory(error), AppError)


def test_one_that_an_app_has_wrapped_is_recognised():
    def app(message, context):
        try:
            raise torch.OutOfMemoryError(TORCH)
        except RuntimeError as error:
            raise ValueError("the batch failed") from error

    assert "2.00 GiB needed" in asked(app).error.reason


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("out of memory"),
        ValueError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        type("OutOfMemoryError", (Exception,), {"__module__": "my_app.queues"})("too many"),
    ],
)
def test_other_errors_stay_as_they_are(error):
    assert not is_out_of_memory(error)


def test_a_long_text_is_cut_and_numbers_that_are_none_are_left_out():
    hostile = "Tried to allocate " + "9" * 100_000 + " GiB. " + "x" * 1_000_000
    text = str(out_of_memory(torch.OutOfMemoryError(hostile)))
    assert "CUDA gives no numbers" in text
    assert len(text) < 600


def test_numbers_that_the_text_lacks_are_those_of_the_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1 << 30, 4 << 30))
    text = str(out_of_memory(RuntimeError("CUDA error: out of memory")))
    assert "1.00 GiB free on the GPU, 4.00 GiB in all" in text


def test_nothing_asks_cuda_where_it_was_not_started(monkeypatch):
    def fail():
        raise AssertionError("CUDA was asked")

    monkeypatch.setattr(torch.cuda, "mem_get_info", fail)
    monkeypatch.setattr(torch.cuda, "empty_cache", fail)
    error = torch.OutOfMemoryError(TORCH)
    out_of_memory(error)
    gpu_memory.give_back(error)


def test_what_the_app_held_is_free_when_the_reply_is_there(monkeypatch):
    """In a simulation the next client has the same process."""
    freed, emptied = [], []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (0, 0))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(list(freed)))

    class Big:
        pass

    def app(message, context):
        big = Big()
        weakref.finalize(big, freed.append, True)
        cycle = [big]
        cycle.append(cycle)
        raise torch.OutOfMemoryError(TORCH)

    asked(app)
    assert emptied == [[True]]
    gc.collect()


def test_the_client_and_its_partition_are_known_while_its_message_is_served():
    def app(message, context):
        seen.append((is_client(), client_number(), used_device()))
        note_device("NVIDIA H200")
        return Message(RecordDict(), reply_to=message)

    seen = []
    asked(app)
    assert used_device() == "NVIDIA H200"
    asked(app)
    assert seen == [(True, 3, "")] * 2
    assert not is_client()
    assert client_number() == 0


def told(raised):
    def app(message, context):
        raised()

    return asked(app).error.reason


def out():
    raise torch.OutOfMemoryError(TORCH)


def test_an_error_after_a_fallback_is_the_apps_own():
    def raised():
        try:
            out()
        except torch.OutOfMemoryError:
            raise KeyError("no column 'label'") from None

    assert told(raised).startswith("<class 'KeyError'>:<'\"no column 'label'\"'>")


def test_what_was_raised_because_of_it_is_named_after_the_numbers():
    def raised():
        try:
            out()
        except torch.OutOfMemoryError as error:
            raise ValueError("training failed") from error

    assert "2.00 GiB needed at once" in told(raised)
    assert "The app then raised ValueError: training failed" in told(raised)


def test_a_text_that_quotes_it_is_another_error():
    assert not is_out_of_memory(RuntimeError("the log says: CUDA out of memory"))


class _HostileError(Exception):
    __module__ = None

    @property
    def __cause__(self):
        raise ZeroDivisionError("boom")

    def __str__(self):
        raise ZeroDivisionError("boom")


def test_an_exception_of_a_strange_class_is_judged_without_another_error():
    assert not is_out_of_memory(_HostileError())
    assert not is_out_of_memory(type("Odd", (RuntimeError,), {"__str__": _HostileError.__str__})("x"))
    names = {"__module__": "torch", "__str__": _HostileError.__str__}
    strange = type("OutOfMemoryError", (RuntimeError,), names)
    assert "CUDA gives no numbers" in str(out_of_memory(strange("x")))
