"""What is below /sys may be anything; nothing of it holds up or ends whoever looks."""

import os

import pytest

from oneflower.gpu.pci import is_there, pci_gpus
from oneflower.gpu.unusable import has_gpu


@pytest.mark.parametrize("name", ["vendor", "class"])
def test_a_named_pipe_in_place_of_a_file_is_no_gpu(tmp_path, name):
    folder = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    folder.mkdir(parents=True)
    (folder / "vendor").write_text("0x10de\n")
    (folder / "class").write_text("0x030200\n")
    assert len(pci_gpus(tmp_path)) == 1
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert pci_gpus(tmp_path) == ()
    assert not has_gpu(tmp_path)


def test_a_path_that_cannot_be_one_is_not_there(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    paths = [tmp_path / name for name in ("loop", "missing", "a" * 300, "\0", "\ud800")]
    assert not any(map(is_there, paths))
    assert is_there(tmp_path)
