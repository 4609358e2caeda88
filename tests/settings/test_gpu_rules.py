"""What is probably not intended of the GPU variables is reported; what contradicts itself is refused."""

import pytest

from oneflower.errors import SettingsError
from oneflower.settings import Role, resolve


def notices(role, **given):
    found = resolve({f"FL_{name}": value for name, value in given.items()}, role=role).notices
    return [f"{notice.level}: {notice.text}" for notice in found if "FL_GPU" in notice.text]


def test_a_supernode_with_a_gpu_is_nothing_to_report():
    assert notices(Role.SUPERNODE, GPU_ENABLED="YES", CUDA_VISIBLE_DEVICES="0,1") == []


def test_a_superlink_trains_on_no_gpu():
    (text,) = notices(Role.SUPERLINK, GPU_ENABLED="YES")
    assert text.startswith("info: FL_GPU_ENABLED is a variable of SuperNodes")
    assert notices(Role.SUPERLINK, GPU_ENABLED="NO") == []


@pytest.mark.parametrize("role", [Role.SUPERNODE, Role.BOTH])
def test_a_container_without_cuda_is_a_warning(role):
    (text,) = notices(role, GPU_ENABLED="YES", USE_CASE="tabular-classification")
    assert text.startswith("warning: FL_GPU_ENABLED is YES, and the container of sklearn has no CUDA")


@pytest.mark.parametrize(
    ("name", "text"),
    [("CUDA_VISIBLE_DEVICES", "0"), ("GPU_MEMORY_FRACTION", "0.4")],
)
def test_the_others_have_no_effect_without_gpus(name, text):
    expected = f"info: FL_{name} has no effect: FL_GPU_ENABLED is NO"
    assert notices(Role.SUPERNODE, **{name: text}) == [expected]
    assert notices(Role.SUPERNODE, GPU_ENABLED="YES", **{name: text}) == []


@pytest.mark.parametrize(
    ("text", "reason", "remedy"),
    [
        ("80%", "it is a percentage, and a number without % is expected", "did you mean {}'0.8'?"),
        ("0,5", "it is written with a comma, and a decimal point is expected", "did you mean {}'0.5'?"),
        ("0", "it is too small", "write for example {}'0.8'"),
        ("1.5", "it is too large", "write for example {}'0.8'"),
    ],
)
def test_a_wrong_share_is_answered_with_a_right_one(text, reason, remedy):
    with pytest.raises(SettingsError) as caught:
        notices(Role.SUPERNODE, GPU_MEMORY_FRACTION=text)
    assert f"{reason}; expected a finite number above 0, at most 1 (0.8 is 80 percent" in str(caught.value)
    assert remedy.format("FL_GPU_MEMORY_FRACTION=") in str(caught.value)


@pytest.mark.parametrize("role", [Role.SUPERNODE, Role.BOTH])
def test_a_gpu_is_not_required_where_none_is_given(role):
    with pytest.raises(SettingsError, match="FL_GPU_REQUIRED is YES and FL_GPU_ENABLED is NO"):
        notices(role, GPU_REQUIRED="YES")
    assert notices(role, GPU_REQUIRED="YES", GPU_ENABLED="YES") == []
