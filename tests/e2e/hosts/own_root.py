"""A host made of this machine's own /usr: nothing is fetched or built, and a boot takes a second.

Its systemd, Python and oneflower are this machine's, read-only; /etc, /opt and /var are its own. In place of
a container engine it has `docker_stand_in.py`, for there is no image.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import oneflower

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PROGRAMS = ("systemd-nspawn", "ip", "nsenter", "unshare", "setpriv")
# What programs of /usr look for in /etc. Secrets and services of this machine stay out.
ETC = ("passwd", "group", "nsswitch.conf", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "ssl")
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")

# Python and oneflower may lie below /root or /tmp here.
VISIBLE = ("ProtectHome=no", "PrivateTmp=no")
DROP_INS = {"flower-": VISIBLE}


class OwnRoot:
    """How the hosts of a lab are made: see `lab.Host` for who calls what."""

    def make(self, disk):
        """Lay out the root of a host in ``disk/root``."""
        root = disk / "root"
        for name in (
            "etc/systemd/system",
            "opt/oneflower/image",
            "proc",
            "root",
            "run",
            "sys",
            "dev",
            "tmp",
            "usr",
            "var",
        ):
            (root / name).mkdir(parents=True)
        # Contextualization writes there before systemd-tmpfiles could make it.
        (root / "var/run").symlink_to("/run")
        for name in MERGED:
            if Path("/", name).is_symlink():
                (root / name).symlink_to(Path("/", name).readlink())
        for name in ETC:
            copy(Path("/etc", name), root / "etc" / name)
        # systemd-nspawn looks for it before there is a /usr.
        shutil.copy("/usr/lib/os-release", root / "etc/os-release")
        (root / "etc/machine-id").write_text(os.urandom(16).hex() + "\n")
        (root / "etc/systemd/system/default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")
        for unit, lines in DROP_INS.items():
            folder = root / f"etc/systemd/system/{unit}.service.d"
            folder.mkdir()
            (folder / "host.conf").write_text("\n".join(["[Service]", *lines, ""]))
        (root / "opt/oneflower/venv").symlink_to(sys.prefix)
        shutil.copy(ROOT / "appliances/image/Containerfile", root / "opt/oneflower/image")
        (root / "opt/oneflower/python-folders").write_text("\n".join(map(str, python_folders())))
        for folder in python_folders():
            (root / str(folder).lstrip("/")).mkdir(parents=True, exist_ok=True)
        docker = disk / "usr/bin/docker"
        docker.parent.mkdir(parents=True)
        docker.write_text(f"#!/opt/oneflower/venv/bin/python -I\n{(HERE / 'docker_stand_in.py').read_text()}")
        docker.chmod(0o755)

    def usr(self, disk):
        """Return where files for the host's /usr are put."""
        return disk / "usr"

    def options(self, disk):
        """Return what systemd-nspawn mounts into the host."""
        binds = [f"--bind-ro={folder}" for folder in python_folders()]
        return [f"--overlay-ro=/usr:{disk}/usr:/usr", *binds]

    def remove(self, disk):
        """Nothing was mounted outside of the host."""


def python_folders():
    """Return the folders outside of /usr from which oneflower is run here."""
    # The last is the checkout that an editable install runs from.
    folders = [Path(sys.base_prefix), Path(sys.prefix), Path(oneflower.__file__).parents[2]]
    outside = [folder for folder in folders if not folder.is_relative_to("/usr")]
    return sorted(
        {folder for folder in outside if not any(folder.is_relative_to(o) and folder != o for o in outside)}
    )


def copy(source, target):
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("private"))
    elif source.exists():
        shutil.copy(source, target)


def why_not(boot):
    """Return why no host of this kind can run here, or nothing.

    Parameters
    ----------
    boot : callable
        Boots a host without an appliance, and ends it; it raises where this machine does not allow that.
    """
    if os.getuid() != 0:
        return "needs root"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    if not Path("/usr/lib/systemd/systemd").exists() or not Path("/bin").is_symlink():
        return "needs systemd, and all programs below /usr"
    try:
        boot()
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return f"no machine can be booted inside this one: {error}"
    return ""
