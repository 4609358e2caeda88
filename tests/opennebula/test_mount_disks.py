"""A labelled disk is mounted before the stages run, and never written around."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from oneflower.errors import StateError

IMAGE = Path(__file__).parents[2] / "appliances/image"
MEBIBYTE = 1 << 20


@pytest.fixture
def root(tmp_path):
    subprocess.run([IMAGE / "boot.sh", tmp_path], check=True)
    return tmp_path


@pytest.fixture
def disk(tmp_path):
    """Attach a disk with a label; skip where this machine has no loop devices."""
    if os.getuid() != 0 or not shutil.which("mkfs.ext4") or not shutil.which("losetup"):
        pytest.skip("needs root, mkfs.ext4 and losetup")
    attached = []

    def attach(label):
        image = tmp_path / f"{label}.raw"
        image.write_bytes(b"")
        os.truncate(image, 8 * MEBIBYTE)
        subprocess.run(["mkfs.ext4", "-q", "-L", label, image], check=True)
        done = subprocess.run(
            ["losetup", "--find", "--show", image], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"no loop device: {done.stderr}")
        attached.append(done.stdout.strip())
        return attached[-1]

    yield attach
    for device in attached:
        subprocess.run(["umount", "--quiet", device], check=False)
        subprocess.run(["losetup", "--detach", device], check=False)


def mount_disks(root, **environ):
    command = [root / "opt/oneflower/mount-disks", root]
    return subprocess.run(command, check=True, capture_output=True, env={**os.environ, **environ})


def stub(folder, **programs):
    """Return a PATH on which programs are what a test says."""
    folder.mkdir()
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.mark.root
def test_a_labelled_disk_is_mounted_once(root, disk):
    disk("fl-checkpoints")
    folder = root / "opt/flower/checkpoints"
    mount_disks(root)
    assert folder.is_mount()
    (folder / "kept").touch()
    mount_disks(root)
    assert (folder / "kept").exists()
    assert not (root / "run/oneflower/not-mounted").exists()


@pytest.mark.parametrize("name", ["apps", "checkpoints", "data", "models"])
def test_every_label_has_its_folder(root, tmp_path, name):
    """Without a loop device: what blkid and mount are asked for."""
    programs = {
        "blkid": f'[ "$2" = fl-{name} ] && echo /dev/vdb || exit 2',
        "mountpoint": "exit 1",
        "mount": f'echo "$1 $2" > {tmp_path}/asked',
    }
    mount_disks(root, PATH=stub(tmp_path / "bin", **programs))
    assert (tmp_path / "asked").read_text() == f"/dev/vdb {root}/opt/flower/{name}\n"


def test_without_labelled_disks_nothing_happens(root, tmp_path):
    mount_disks(root, PATH=stub(tmp_path / "bin", blkid="exit 2", mount="exit 32"))
    assert not (root / "opt/flower").exists()
    assert not (root / "run").exists()


def test_a_disk_that_cannot_be_mounted_stops_the_stage_until_it_is(root, tmp_path, layout):
    path = stub(tmp_path / "bin", blkid='[ "$2" = fl-checkpoints ] && echo /dev/vdb', mount="exit 32")
    mount_disks(root, PATH=path)
    told = (root / "run/oneflower/not-mounted").read_text()
    assert told == "checkpoints /dev/vdb\n"
    layout.not_mounted.parent.mkdir(parents=True)
    layout.not_mounted.write_text(told)
    with pytest.raises(StateError, match=r"/dev/vdb has the label fl-checkpoints.*fsck"):
        layout.make(checkpoints=True)
    assert not layout.checkpoints.exists()
    layout.not_mounted.unlink()
    layout.make(checkpoints=True)


def test_the_boot_mounts_before_the_stages(root):
    name = "oneflower-mount-disks.service"
    unit = root / "etc/systemd/system" / name
    assert (root / "etc/systemd/system/one-context.service.wants" / name).resolve() == unit.resolve()
    assert "Before=one-context.service\n" in unit.read_text()
