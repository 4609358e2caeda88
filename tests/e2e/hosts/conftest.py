"""A lab of hosts; it needs root, systemd-nspawn and podman, and is asked for by `make e2e-hosts`."""

import importlib.util
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PROGRAMS = ("systemd-nspawn", "podman", "buildah", "debootstrap", "ip", "nsenter")


def _load(name):
    spec = importlib.util.spec_from_file_location(f"hosts_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


lab_module, images_module = _load("lab"), _load("images")


def pytest_collection_modifyitems(items):
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    reason = None
    if os.environ.get("ONEFLOWER_HOSTS") != "YES":
        reason = "hosts are asked for by `make e2e-hosts`"
    elif os.getuid() != 0 or missing:
        reason = f"needs root and {', '.join(missing or PROGRAMS)}"
    for item in items:
        if HERE in item.path.parents and reason:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def images():
    built = images_module.Images(images_module.cache())
    built.build()
    return built


@pytest.fixture
def lab(images):
    folder = Path(tempfile.mkdtemp(prefix="lab-", dir=images.folder))
    made = lab_module.Lab(folder, images.root, images.store)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder)


@pytest.fixture
def tell(capsys):
    """Print a line of the transcript, with the seconds since the test began."""
    began = time.monotonic()

    def line(text):
        with capsys.disabled():
            sys.stdout.write(f"{time.monotonic() - began:7.1f} s  {text}\n")
            sys.stdout.flush()

    return line


@pytest.fixture
def wait(tell):
    """Wait until a condition holds, and say how it was when it does not in time."""

    def until(what, condition, timeout_s=600, describe=lambda: ""):
        deadline = time.monotonic() + timeout_s
        while not (found := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}: not within {timeout_s} s\n{describe()}")
            time.sleep(0.5)
        tell(what)
        return found

    return until
