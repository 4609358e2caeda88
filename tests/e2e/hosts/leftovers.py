"""What a lab makes bears its process id, and is undone by the next lab where it was killed."""

import errno
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

TAG = "of"
FOLDER = "oneflower-lab-"
CGROUP = Path("/sys/fs/cgroup")
# Two hierarchies side by side, or one.
CGROUPS = [CGROUP] if (CGROUP / "cgroup.controllers").exists() else [CGROUP / "systemd", CGROUP / "unified"]


def run(*command, check=True, timeout=120):
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=timeout, check=False
    )
    if check and done.returncode:
        raise RuntimeError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def make_folder(parent):
    """Make the folder of a lab, after those of labs that were killed are gone."""
    for left in parent.glob(f"{FOLDER}*"):
        if not Path("/proc", left.name.removeprefix(FOLDER).partition("-")[0]).exists():
            for root in left.glob("vm-*/root"):
                run("umount", "--quiet", root, check=False)
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-", dir=parent))


def sweep():
    """End what a lab has left whose process was killed: machines with all they run, networks and cgroups."""
    for line in run("ip", "netns", "list", check=False).splitlines():
        name = line.split()[0]
        if _is_left(name):
            for pid in run("ip", "netns", "pids", name, check=False).split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            run("ip", "netns", "delete", name, check=False)
    for hierarchy in CGROUPS:
        for group in hierarchy.glob(f"{TAG}*"):
            if _is_left(group.name):
                remove_groups(group)


def _is_left(name):
    found = re.fullmatch(rf"{TAG}([0-9]+)(hub|v[0-9]+)", name)
    return found is not None and not Path("/proc", found[1]).exists()


def remove_groups(group):
    found = [folder for folder in group.rglob("*") if folder.is_dir()] if group.exists() else []
    for folder in [*sorted(found, key=lambda path: -len(path.parts)), group]:
        with suppress(FileNotFoundError):
            _remove_group(folder)


def _remove_group(folder):
    """Remove a cgroup; its last processes may still be on their way out."""
    for _ in range(100):
        try:
            return folder.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(0.1)
    raise RuntimeError(f"{folder} still has processes: {(folder / 'cgroup.procs').read_text().split()}")
