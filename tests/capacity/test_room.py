"""What a process may still take: the least of the machine and of every control group above it."""

from pathlib import Path

import pytest

from oneflower.capacity import disk_free, memory_free, own_memory

MIB = 1024 * 1024


@pytest.fixture
def machine(tmp_path):
    """Return a /proc and a /sys/fs/cgroup of one's own, with 8 GiB available."""
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    groups.mkdir()
    (proc / "meminfo").write_text("MemTotal:  16000000 kB\nMemAvailable:    8388608 kB\n")
    return proc, groups


def group(folder, limit, used, *, files=0, v1=False):
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if v1 else ("memory.max", "memory.current")
    for name, value in zip(names, (limit, used), strict=True):
        (folder / name).write_text(f"{value}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {files}\nactive_file 0\n")


def test_without_groups_it_is_what_the_machine_has(machine):
    assert memory_free(*machine) == 8192 * MIB


def test_a_group_of_version_2_bounds_it_and_files_in_memory_are_free(machine):
    proc, groups = machine
    (proc / "self" / "cgroup").write_text("0::/system.slice/superlink.service\n")
    group(groups / "system.slice" / "superlink.service", "max", 100 * MIB)
    assert memory_free(*machine) == 8192 * MIB
    group(groups / "system.slice", 1000 * MIB, 600 * MIB, files=100 * MIB)
    assert memory_free(*machine) == 500 * MIB
    group(groups / "system.slice" / "superlink.service", 400 * MIB, 100 * MIB)
    assert memory_free(*machine) == 300 * MIB


def test_a_container_sees_its_own_group_as_the_top(machine):
    proc, groups = machine
    (proc / "self" / "cgroup").write_text("0::/../../other\n")
    group(groups, 700 * MIB, 200 * MIB)
    assert memory_free(*machine) == 500 * MIB


def test_a_group_of_version_1_bounds_it(machine):
    proc, groups = machine
    (proc / "self" / "cgroup").write_text("4:cpu:/a\n3:memory:/a/b\n0::/\n")
    group(groups / "memory" / "a" / "b", 9223372036854771712, 5, v1=True)
    group(groups / "memory" / "a", 64 * MIB, 60 * MIB, v1=True)
    assert memory_free(*machine) == 4 * MIB


def test_a_group_above_its_limit_has_nothing_left(machine):
    proc, groups = machine
    (proc / "self" / "cgroup").write_text("0::/\n")
    group(groups, 10 * MIB, 20 * MIB)
    assert memory_free(*machine) == 0


@pytest.mark.parametrize("text", ["", "nonsense\n", "0::\n", "4:memory\n"])
def test_what_cannot_be_read_bounds_nothing(machine, text):
    proc, _ = machine
    (proc / "self" / "cgroup").write_text(text)
    assert memory_free(*machine) == 8192 * MIB


def test_a_machine_that_does_not_say_is_unknown(tmp_path):
    assert memory_free(tmp_path / "none", tmp_path / "none") is None
    assert own_memory(tmp_path / "none") == 0


def test_this_machine_says():
    assert memory_free() > 0
    assert own_memory() > 10 * MIB


def test_a_folder_to_be_made_is_on_the_disk_of_the_one_above(tmp_path):
    device, free = disk_free(tmp_path / "not" / "there")
    assert device == tmp_path.stat().st_dev
    assert free > 0
    assert disk_free(Path("/proc/1/none/there")) is not None
