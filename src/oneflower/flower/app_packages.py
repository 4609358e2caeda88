"""Packages that an app needs and the image lacks: from a folder of wheels, never from the network.

The wheels are installed into a folder of their own, whole or not at all, which app processes search last: no
wheel replaces a package of the image.
"""

import fcntl
import hashlib
import importlib
import importlib.metadata
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from oneflower.errors import AppError
from oneflower.files import state_errors

log = logging.getLogger(__name__)

APPS_VARIABLE: Final = "ONEFLOWER_APPS"
"""Where the folder of the operator's apps is for this process: a container has it elsewhere."""
PACKAGES_VARIABLE: Final = "ONEFLOWER_PACKAGES"
"""The folder below which packages of wheels are installed."""
WHEELS: Final = "wheels"
INSTALL_S: Final = 600.0
_CURRENT: Final = "current"
_PIP: Final = (
    *(sys.executable, "-I", "-m", "pip", "--isolated", "--disable-pip-version-check", "install"),
    *("--no-index", "--no-deps", "--no-cache-dir", "--no-compile", "--quiet", "--only-binary=:all:"),
)


def prepare_packages(environ: Mapping[str, str]) -> None:
    """Install the wheels of this machine, where it has a folder for them.

    Raises
    ------
    AppError
        A wheel is not one, is for another machine, or there are two versions of one package.
    StateError
        The folder of the packages cannot be written.
    """
    apps, packages = environ.get(APPS_VARIABLE, ""), environ.get(PACKAGES_VARIABLE, "")
    if apps and packages:
        install_wheels(Path(apps) / WHEELS, Path(packages))


def use_packages(environ: Mapping[str, str]) -> None:
    """Let this process import the installed packages, after everything else."""
    packages = environ.get(PACKAGES_VARIABLE, "")
    current = Path(packages) / _CURRENT
    if packages and current.is_dir():
        folder = str(current.resolve())
        if folder not in sys.path:
            sys.path.append(folder)
            importlib.invalidate_caches()


def install_wheels(
    wheels: Path, packages: Path, *, run: Callable[[Sequence[str]], None] | None = None
) -> None:
    """Make ``packages/current`` a folder of what the wheels contain; none without wheels.

    A crash leaves the folder of before. Two processes that do it at once wait for each other.
    """
    files = _wanted(wheels)
    if not files and not packages.is_dir():
        return
    with state_errors(packages):
        packages.mkdir(parents=True, exist_ok=True)
        with _alone(packages / ".lock"):
            current = packages / _CURRENT
            if not files:
                current.unlink(missing_ok=True)
                return
            folder = packages / _fingerprint(files)
            if not folder.is_dir():
                _install(files, folder, run or _pip)
            _point(current, folder)
            for old in packages.iterdir():
                if old.is_dir() and not old.is_symlink() and old != folder:
                    shutil.rmtree(old, ignore_errors=True)


def _wanted(wheels: Path) -> list[Path]:
    """Return the wheels of packages that this machine's image does not have."""
    found: dict[str, Path] = {}
    for file in sorted(wheels.glob("*.whl")):
        try:
            name = str(parse_wheel_filename(file.name)[0])
        except InvalidWheelFilename as error:
            raise AppError(f"{file} is no wheel: {error}; give what `pip download` wrote") from error
        if name in found:
            raise AppError(
                f"{wheels} has two wheels of {name}, {found[name].name} and {file.name}: expected one "
                "of each package; remove the other"
            )
        found[name] = file
    ours = {canonicalize_name(each.name) for each in _of_image() if each.name} if found else set()
    for name in sorted(found.keys() & ours):
        log.info("wheel not used, the image has the package wheel=%s", found[name].name)
    return [file for name, file in found.items() if name not in ours]


def _of_image() -> Iterator[importlib.metadata.Distribution]:
    """Yield the distributions of this process, those of earlier wheels apart."""
    packages = os.environ.get(PACKAGES_VARIABLE, "")
    path = [each for each in sys.path if not packages or not Path(each).is_relative_to(packages)]
    return iter(importlib.metadata.distributions(path=path))


def _fingerprint(files: Sequence[Path]) -> str:
    """Return what another set of wheels has another of, without reading gigabytes at every start."""
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr((facts, sys.version)).encode()).hexdigest()[:16]


def _install(files: Sequence[Path], folder: Path, run: Callable[[Sequence[str]], None]) -> None:
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    log.info("wheels installed count=%d folder=%s", len(files), folder)
    run([*_PIP, "--target", str(unfinished), *map(str, files)])
    os.sync()  # a power cut after the rename must not leave empty files
    unfinished.rename(folder)


def _point(current: Path, folder: Path) -> None:
    if current.is_symlink() and current.readlink() == Path(folder.name):
        return
    fresh = current.with_name(f".{current.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.name)
    fresh.replace(current)


def _pip(command: Sequence[str]) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=INSTALL_S,
            check=False,
            env=environ,
        )
    except subprocess.TimeoutExpired as error:
        raise AppError(f"the wheels were not installed within {INSTALL_S:.0f} s") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-1000:]
        raise AppError(
            f"the wheels cannot be installed: {said}\nExpected wheels for this machine and Python "
            f"{sys.version_info.major}.{sys.version_info.minor}: run `pip download --only-binary=:all: "
            "-d wheels PACKAGE` with that Python, and put what it writes there"
        )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
