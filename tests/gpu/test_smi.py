"""Whatever nvidia-smi prints: GPUs or a sentence, never another exception."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.gpu import Found, Layer, Ran
from oneflower.gpu.smi import mig_devices, rows

from .machine import UUIDS, Machine, csv

TEXTS = st.text(max_size=400) | st.lists(
    st.lists(
        st.text(max_size=20)
        | st.integers().map(str)
        | st.sampled_from([*UUIDS, "[N/A]", "NVIDIA A100", "Enabled", "81920", "550.54.15"]),
        min_size=4,
        max_size=8,
    ).map(", ".join),
    max_size=70,
).map("\n".join)


@given(TEXTS)
def test_rows_or_a_value_error(text):
    with suppress(ValueError):
        found = rows(text)
        assert 1 <= len(found) <= 64
        assert all(row.gpu.memory_bytes > 0 for row in found)


@given(TEXTS)
def test_a_list_of_mig_devices_is_of_known_gpus(text):
    known = rows(csv())
    assert all(gpu.index in {0, 1} for gpu in mig_devices(text, known))


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    machine = Machine(tmp_path_factory.mktemp("machine"))
    machine.pci()
    for path in ("proc/driver/nvidia/version", "dev/nvidiactl", "dev/nvidia-uvm"):
        machine.file(path)
    return machine


@given(code=st.integers(0, 255) | st.none(), out=TEXTS, err=TEXTS, wanted=st.lists(st.text(max_size=50)))
def test_detect_never_raises(installed, code, out, err, wanted):
    installed.smi = installed.list = installed.info = installed.probe = Ran(code=code, out=out, err=err)
    found = installed.detect(*wanted)
    assert isinstance(found, Found)
    assert found.failed in {Layer.DRIVER, Layer.CONTAINER}
    assert found.reason
    assert found.remedy
    assert found.text.isprintable()


def test_a_name_is_escaped_and_cut():
    (row,) = rows(csv(1).replace("NVIDIA A100 80GB PCIe", "\x1b[31m" + "x" * 1000))
    assert row.gpu.name.startswith("\\x1b[31mxxx")
    assert len(row.gpu.name) < 200
