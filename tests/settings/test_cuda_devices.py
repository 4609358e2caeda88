"""FL_CUDA_VISIBLE_DEVICES is read as CUDA reads it, and what CUDA would drop without a word is refused."""

import pytest

from oneflower.settings import BY_NAME
from oneflower.settings.cuda_devices import device_list

UUID = "GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77"
MIG = "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f"
OLD_MIG = "MIG-GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77/1/0"
ROW = BY_NAME["FL_CUDA_VISIBLE_DEVICES"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("all", "all"),
        ("ALL", "all"),
        ("0", "0"),
        ("0, 01", "0,1"),
        (UUID.upper(), UUID),
        (f"{UUID},{UUID[:-1]}8", f"{UUID},{UUID[:-1]}8"),
        (MIG.lower(), MIG),
        (OLD_MIG, OLD_MIG),
    ],
)
def test_a_value_has_one_normal_form(text, value):
    assert ROW.parse(text) == value
    assert ROW.parse(value) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0,,1", "a device is empty"),
        ("0,0", "it names 0 twice"),
        ("1,01", "it names 1 twice"),
        (f"0,{UUID}", "it mixes numbers and UUIDs"),
        (f"{MIG},{MIG[:-1]}0", "it names a MIG device and others"),
        (f"{UUID},{MIG}", "it names a MIG device and others"),
        ("-1", "neither a number nor a UUID"),
        ("0;1", "neither a number nor a UUID"),
        ("GPU-123", "neither a number nor a UUID"),
        ("none", "neither a number nor a UUID"),
        ("\u0661", "neither a number nor a UUID"),
        (",".join(map(str, range(65))), "at most 64"),
    ],
)
def test_what_cuda_would_not_use_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        ROW.parse(text)


def test_all_names_no_device():
    assert device_list("all") == ()
    assert device_list("0,2") == ("0", "2")


@pytest.mark.parametrize("text", ["0", "0.0", "1.01", "-0.5", "80%", "0,5", "nan"])
def test_a_share_of_memory_is_above_zero_and_at_most_one(text):
    with pytest.raises(ValueError, match="it is"):
        BY_NAME["FL_GPU_MEMORY_FRACTION"].parse(text)


def test_all_memory_is_a_share():
    row = BY_NAME["FL_GPU_MEMORY_FRACTION"]
    assert row.parse("1") == 1.0
    assert row.parse("1e-3") == 0.001
    assert row.accepted == "a finite number above 0, at most 1"
