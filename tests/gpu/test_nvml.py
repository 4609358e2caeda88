"""GPUs are read as NVML answers; what it does not answer is None, and nothing raises."""

import re
import sys
from pathlib import Path

import pytest

from oneflower.gpu import nvml
from oneflower.gpu.nvml import MOST_EVENTS, Nvml, visible_devices

from .fake_nvml import H200, INSTANCE, MIG, RTX, UUID, FakeNvml, NVMLError


def read(library, devices=None, samples=1):
    with Nvml(devices, library=library) as gpus:
        for _ in range(samples):
            gpus.sample()
        found = gpus.readings()
    assert (library.opened, library.event_sets) == (0, 0), "everything is closed"
    return found


def test_a_card_says_means_and_maxima_of_the_samples():
    (reading,) = read(FakeNvml(H200), samples=2)
    assert (reading.index, reading.uuid, reading.name, reading.place) == (0, UUID, "NVIDIA H200", "0")
    assert reading.utilisation == 0.94
    assert (reading.memory_used_bytes, reading.memory_total_bytes) == (62_914_560_000, 150_754_820_096)
    assert (reading.temperature_c, reading.power_w, reading.ecc_errors) == (64.0, 505.23, 0)
    assert reading.xids == {}


def test_what_a_card_cannot_tell_is_none():
    (reading,) = read(FakeNvml(RTX))
    assert (reading.power_w, reading.ecc_errors) == (None, None)
    assert (reading.utilisation, reading.temperature_c) == (0.4, 55.0)


def test_a_mig_instance_says_its_memory_and_the_temperature_of_its_card():
    (reading,) = read(FakeNvml(H200, instances=[INSTANCE]), [MIG])
    assert (reading.place, reading.uuid, reading.name) == ("0:7", MIG, "NVIDIA H200")
    assert (reading.utilisation, reading.memory_total_bytes) == (None, 18_790_481_920)
    assert reading.temperature_c == 61.0


@pytest.mark.parametrize(
    ("variable", "places"),
    [
        (None, ["0", "1"]),
        ("1", ["1"]),
        (UUID, ["0"]),
        ("1,0", ["1", "0"]),
        ("", []),
        ("-1", []),
        ("7,x", []),
        ("9" * 5000 + ",1", ["1"]),
    ],
)
def test_only_the_selected_cards_are_read(variable, places):
    found = read(FakeNvml(H200, RTX), visible_devices(variable))
    assert [each.place for each in found] == places


def test_xid_errors_are_counted_for_the_card_that_had_them():
    first, second = read(FakeNvml(H200, RTX, xids=[(UUID, 31), (UUID, 79), (UUID, 31)]))
    assert (first.xids, second.xids) == ({31: 2, 79: 1}, {})


def test_a_card_that_reports_errors_without_end_holds_nobody_up():
    (reading,) = read(FakeNvml(H200, xids=[(UUID, 94)] * 1000))
    assert reading.xids == {94: MOST_EVENTS}


@pytest.mark.parametrize("library", [FakeNvml(H200, driver=False), object(), FakeNvml()])
def test_without_a_driver_a_library_or_a_card_there_are_no_readings(library):
    with Nvml(library=library) as gpus:
        gpus.sample()
        assert gpus.readings() == ()
        assert not gpus


def test_without_the_package_there_are_no_readings(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with Nvml() as gpus:
        assert gpus.readings() == ()


@pytest.mark.parametrize("name", [name for name in vars(FakeNvml) if name.startswith("nvml")])
def test_whatever_fails_is_not_raised(monkeypatch, name):
    def fails(*_):
        raise NVMLError("GPU is lost")

    library = FakeNvml(H200, RTX, instances=[INSTANCE], xids=[(UUID, 31)])
    monkeypatch.setattr(library, name, fails if callable(getattr(library, name)) else None, raising=False)
    with Nvml(["0", UUID, MIG], library=library) as gpus:
        gpus.sample()
        gpus.readings()


@pytest.mark.parametrize("name", [name for name in vars(FakeNvml) if name.lower().startswith("nvml")])
def test_an_older_library_lacks_names(monkeypatch, name):
    monkeypatch.delattr(FakeNvml, name)
    with Nvml(library=FakeNvml(H200)) as gpus:
        gpus.sample()
        gpus.readings()


def test_every_name_that_is_used_is_one_of_the_library():
    library = pytest.importorskip("pynvml")
    source = Path(nvml.__file__).read_text()
    used = set(re.findall(r"\b(nvml[A-Z]\w+|NVML_\w+)", source))
    assert len(used) > 15
    assert [name for name in sorted(used) if not hasattr(library, name)] == []
    played = {name for name in vars(FakeNvml) if name.lower().startswith("nvml")}
    assert used <= played, "the recorded answers cover all that is asked"


def test_the_real_library_without_a_driver_gives_no_readings():
    pytest.importorskip("pynvml")
    with Nvml(["no-such-device"]) as gpus:
        assert gpus.readings() == ()
