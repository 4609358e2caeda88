"""The image of a SuperNode with GPUs: what it installs is pinned and signed, and a boot downloads nothing."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from .test_locks import IMAGE, ROOT, locked

SCRIPT = (IMAGE / "gpu.sh").read_text()


def run(script, *arguments, path="", **environment):
    return subprocess.run(
        ["bash", str(IMAGE / script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": f"{path}:{os.environ['PATH']}", **environment},
    )


def test_the_gpu_lock_is_that_of_pytorch_and_what_reads_gpus():
    plain, gpu = locked("container.lock"), locked("container-gpu.lock")
    assert {name: gpu[name] for name in plain} == plain
    assert set(gpu) - set(plain) == {"nvidia-ml-py"}


def test_the_gpu_lock_holds_the_cuda_build():
    """The index's wheel of PyTorch for Linux is the build for CUDA; others have a local version, `+cpu`."""
    (torch,) = locked("container-gpu.lock")["torch"]
    assert (
        torch
        in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["apps"][0]
    )
    assert {"nvidia-cublas", "nvidia-cuda-runtime", "nvidia-cudnn-cu13"} < set(locked("container-gpu.lock"))


def test_make_writes_the_lock_and_its_bill_of_materials():
    makefile = (ROOT / "Makefile").read_text()
    assert "--extra gpu \\\n\t\t-o $(LOCKS)/container-gpu.lock" in makefile
    assert " container-gpu " in makefile[makefile.index("\nsbom:") :]


def test_the_recipe_installs_the_gpu_lock_where_it_is_asked_for():
    recipe, install = (IMAGE / "Containerfile").read_text(), (IMAGE / "install.sh").read_text()
    assert 'ARG GPU="NO"' in recipe
    assert '"YES pytorch") lock=container-gpu.lock; extras="${extras},gpu" ;;' in recipe
    assert '--build-arg "GPU=$gpu"' in install
    assert '[ "$GPU" = NO ] || "$HERE/gpu.sh"' in install


@pytest.mark.parametrize(
    ("role", "gpu", "reason"),
    [
        ("superlink", "YES", "only a SuperNode uses GPUs"),
        ("supernode", "yes", "GPU is yes: expected YES or NO"),
        ("supernode", "1", "GPU is 1: expected YES or NO"),
    ],
)
def test_a_wrong_gpu_is_refused_before_anything_is_installed(role, gpu, reason):
    done = run("install.sh", role, GPU=gpu)
    assert done.returncode == 2
    assert reason in done.stderr
    assert done.stdout == ""


def stub(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("key", ["", "fpr:::::::::" + "0" * 40 + ":"])
def test_a_repository_with_another_key_is_refused(tmp_path, key):
    stub(tmp_path, "apt-get", "exit 0")
    stub(tmp_path, "curl", "exit 0")
    stub(tmp_path, "gpg", f"echo '{key}'")
    done = run("gpu.sh", path=tmp_path)
    assert done.returncode == 3
    assert "expected EB693B3035CD5710E231E123A4B469963BF863CC; nothing was installed" in done.stderr


def test_every_package_of_nvidia_is_pinned_and_checked_afterwards():
    for kind, version in (("DRIVER", "NVIDIA_DRIVER"), ("TOOLKIT", "NVIDIA_TOOLKIT")):
        packages = f'"${{{kind}_PACKAGES[@]}}"'
        assert re.search(rf'pin "\${version}" {re.escape(packages)}', SCRIPT)
        assert f'expect "${version}" {packages}' in SCRIPT
    assert SCRIPT.count("[signed-by=$KEYRINGS/") == SCRIPT.count('echo "deb ') == 3
    assert "trusted=yes" not in SCRIPT
    assert "--allow-unauthenticated" not in SCRIPT


def test_the_drivers_packages_find_what_they_depend_on():
    """Debian's images have no `contrib`, and what is not pinned comes in the newest version."""
    assert '$DEBIAN $(. /etc/os-release; echo "$VERSION_CODENAME") contrib"' in SCRIPT
    pinned = SCRIPT[SCRIPT.index('pin "$NVIDIA_DRIVER"') : SCRIPT.index('pin "$NVIDIA_TOOLKIT"')]
    assert {"'libcuda1'", "'libcudadebugger1'", "'libnvcuvid1'", "'libnvoptix1'"} < set(pinned.split())


def test_the_specification_is_written_with_the_device_nodes_there():
    assert "nvidia-modprobe" in SCRIPT[SCRIPT.index("DRIVER_PACKAGES=") :].splitlines()[0]
    assert "ExecStartPre=-/usr/bin/nvidia-modprobe -c=0 -u" in SCRIPT


def test_the_versions_are_those_that_pytorch_and_a_boot_without_downloads_need():
    """CUDA 13.0 needs a driver of 580 or newer; the toolkit writes the specification from 1.18.0 on."""
    driver = re.search(r"NVIDIA_DRIVER:-([0-9.]+)", SCRIPT)[1]
    toolkit = re.search(r"NVIDIA_TOOLKIT:-([0-9.]+)", SCRIPT)[1]
    (runtime,) = locked("container-gpu.lock")["nvidia-cuda-runtime"]
    assert runtime.startswith("13.0.")
    assert int(driver.split(".")[0]) >= 580
    assert tuple(map(int, toolkit.split("."))) >= (1, 18, 0)


def test_a_boot_writes_the_specification_before_the_stages_and_downloads_nothing():
    assert "After=nvidia-persistenced.service\\nBefore=one-context.service" in SCRIPT
    assert "for unit in nvidia-persistenced.service nvidia-cdi-refresh.service" in SCRIPT
    assert "blacklist nouveau" in SCRIPT
    boot = Path(IMAGE / "boot.sh").read_text()
    assert not re.search(r"apt-get|curl|pip |nvidia", boot)
