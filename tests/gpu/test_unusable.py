"""Why PyTorch uses no GPU has one remedy for each cause."""

import pytest

from oneflower.gpu.unusable import has_gpu, why_unusable


@pytest.fixture
def root(tmp_path):
    """A machine with one NVIDIA GPU, a network card of NVIDIA's, and a controller of another vendor."""
    for number, (vendor, kind) in enumerate(
        [("0x8086", "0x030000"), ("0x10de", "0x020000"), ("0x10de", "0x030200")]
    ):
        folder = tmp_path / "sys/bus/pci/devices" / f"0000:0{number}:00.0"
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(f"{vendor}\n")
        (folder / "class").write_text(f"{kind}\n")
    return tmp_path


def test_a_build_without_cuda_is_to_be_replaced(root):
    why = why_unusable(torch="2.13.0+cpu", cuda=None, root=root)
    assert why.reason == "this PyTorch (2.13.0+cpu) was built without CUDA"
    assert "pip install" in why.remedy


def test_a_machine_without_a_gpu_needs_no_other_build(tmp_path):
    why = why_unusable(torch="2.13.0+cpu", cuda=None, root=tmp_path)
    assert why.reason == "this machine has no NVIDIA GPU"
    assert "FL_GPU_ENABLED=NO" in why.remedy


def test_a_driver_that_fails_is_to_be_looked_at(root):
    why = why_unusable(torch="2.13.0", cuda="13.0", error="driver too old", root=root)
    assert "driver too old" in str(why)
    assert "nvidia-smi" in str(why)


def test_in_the_container_of_a_vm_the_doctor_names_the_layer(tmp_path):
    why = why_unusable(torch="2.13.0", cuda="13.0", on_vm=True, root=tmp_path)
    assert "oneflower appliance doctor" in why.remedy


def test_a_text_of_cuda_is_escaped_and_cut(root):
    why = why_unusable(torch="2", cuda="13", error="\x1b[31m" + "x" * 9999, root=root)
    assert why.reason.isprintable()
    assert len(why.reason) < 400


def test_a_gpu_is_a_display_controller_of_nvidia(root, tmp_path_factory):
    assert has_gpu(root)
    (root / "sys/bus/pci/devices/0000:02:00.0/class").write_text("0x020000\n")
    assert not has_gpu(root)
    assert not has_gpu(tmp_path_factory.mktemp("empty"))


def test_under_windows_the_gpu_is_not_on_the_bus(tmp_path):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/dxg").touch()
    assert has_gpu(tmp_path)
