"""While an app works its GPUs are watched, and its reply says what they measured, where GPUs are enabled."""

import threading

import pytest
from flwr.app import Message, RecordDict

from oneflower.flower.app_gpus import GPU_VARIABLE
from oneflower.flower.calls import gpu_watch
from oneflower.flower.calls.call import call_client
from oneflower.flower.calls.gpu_watch import watched_gpus
from oneflower.flower.calls.used_device import note_device, used_device
from oneflower.flower.client_mark import Report, take_mark
from oneflower.gpu.nvml import Nvml
from oneflower.gpu.readings import readings_of

from ...gpu.fake_nvml import H200, RTX, UUID, FakeNvml
from ..test_client_mark import asked, context_of


@pytest.fixture
def cards(monkeypatch):
    """Give this process two GPUs."""
    library = FakeNvml(H200, RTX)
    monkeypatch.setenv(GPU_VARIABLE, "YES")
    monkeypatch.setattr(gpu_watch, "_visible", lambda: Nvml(library=library))
    return library


def app_on(device, error=None):
    def app(message, context):
        if device:
            note_device(device)
        if error is not None:
            raise error
        return Message(RecordDict({}), reply_to=message)

    return app


def mark_of(app):
    return take_mark(call_client(app, asked(), context_of(client_name="a", partition_id=0)))


def test_a_reply_carries_the_device_and_the_readings(cards):
    mark = mark_of(app_on("NVIDIA H200"))
    assert mark.device == "NVIDIA H200"
    assert [each.name for each in mark.gpus] == ["NVIDIA H200", "NVIDIA GeForce RTX 3060"]
    assert mark.gpus[0].temperature_c == 61.0
    assert cards.opened == 0
    assert not [each for each in threading.enumerate() if each.name == "gpus"]


def test_the_device_of_an_earlier_message_is_forgotten(cards):
    assert mark_of(app_on("cpu")).device == "cpu"
    assert mark_of(app_on("")).device == ""


def test_an_error_carries_the_gpus_that_have_failed(cards):
    cards.xids = [(UUID, 79)]
    mark = mark_of(app_on("NVIDIA H200", RuntimeError("CUDA error")))
    assert (mark.name, mark.device) == ("a", "NVIDIA H200")
    assert [(each.place, each.xids, each.temperature_c) for each in mark.gpus] == [("0", {79: 1}, None)]
    assert mark_of(app_on("", RuntimeError("other"))).gpus == ()


@pytest.mark.parametrize("value", [None, "", "0", "yes"])
def test_without_enabled_gpus_nothing_is_opened_noted_or_sent(monkeypatch, cards, value):
    monkeypatch.delenv(GPU_VARIABLE)
    if value is not None:
        monkeypatch.setenv(GPU_VARIABLE, value)
    monkeypatch.setattr(gpu_watch, "GpuWatch", None)
    reply = call_client(app_on("NVIDIA H200"), asked(), context_of(client_name="a", partition_id=0))
    assert not {"device", "gpus", "failed_gpus"} & set(reply.content["oneflower-client"])
    assert take_mark(reply).device == ""


def test_a_long_message_is_sampled_again_and_again(monkeypatch, cards):
    monkeypatch.setattr(gpu_watch, "PERIOD_S", 0.001)
    report, reached = Report(), threading.Event()
    answer = cards.nvmlDeviceGetPowerUsage

    def counted(handle):
        if len(cards.cards[0]["power"]) == 1:
            reached.set()
        return answer(handle)

    monkeypatch.setattr(cards, "nvmlDeviceGetPowerUsage", counted, raising=False)
    with watched_gpus(report, lambda: Nvml(library=cards)):
        assert reached.wait(10)
    first, _ = readings_of(report.gpus)
    assert first.power_w < 512.34, "the mean of several samples"
    assert first.temperature_c == 64.0, "the highest"


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
def test_without_a_thread_for_it_the_app_works_and_nothing_is_measured(monkeypatch, cards, error):
    def start(_):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        mark = mark_of(app_on("NVIDIA H200"))
    assert (mark.device, mark.gpus) == ("NVIDIA H200", ())


def test_a_driver_that_hangs_holds_up_no_reply(monkeypatch, cards):
    monkeypatch.setattr(gpu_watch, "LONGEST_WAIT_S", 0.01)
    go_on = threading.Event()
    report = Report()

    def hangs():
        go_on.wait(20)
        return Nvml(library=cards)

    with watched_gpus(report, hangs):
        note_device("NVIDIA H200")
    assert (report.device, report.gpus) == ("NVIDIA H200", "")
    go_on.set()
    assert used_device() == "NVIDIA H200"
