"""A lab of hosts with real systemd, of two kinds.

`own` hosts are made of this machine's /usr in a second, and run in every `make slow` as root. `containers`
hosts are built, run real containers, and are asked for by `make e2e-hosts`.
"""

import importlib.util
import os
import shutil
import sys
import time
from contextlib import contextmanager, nullcontext
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


# Test modules import them by these names.
leftovers, lab_module, images_module, own_module, watching = map(
    _load, ("leftovers", "lab", "images", "own_root", "watching")
)
ASKED_FOR = os.environ.get("ONEFLOWER_HOSTS") == "YES"


def pytest_generate_tests(metafunc):
    """A test is for hosts with containers, unless it names the kinds itself."""
    named = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "lab" in metafunc.fixturenames and "lab" not in named:
        metafunc.parametrize("lab", ["containers"], indirect=True)


@pytest.fixture(scope="session")
def images(request):
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if not ASKED_FOR:
        pytest.skip("hosts with containers are asked for by `make e2e-hosts`")
    if os.getuid() != 0 or missing:
        pytest.skip(f"needs root and {', '.join(missing or PROGRAMS)}")
    built = images_module.Images(images_module.cache())
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(line):
        with capture.global_and_fixture_disabled():
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()

    built.build(say)
    return built


@pytest.fixture(scope="session")
def own(tmp_path_factory):
    """Skip where no machine can be booted inside this one; `make e2e-hosts` takes that for a failure."""
    reason = own_module.why_not(boot_and_end)
    if reason and ASKED_FOR:
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    return own_module.OwnRoot()


def boot_and_end():
    with opened(own_module.OwnRoot(), Path("/var/tmp")) as lab:
        host = lab.add("superlink", 10)
        host.boot(target="basic.target")
        host.run("systemctl", "--version", timeout=30)


@contextmanager
def opened(kind, folder):
    folder, made = leftovers.make_folder(folder), None
    try:
        made = lab_module.Lab(folder, kind)
        made.make_switch()
        yield made
    finally:
        try:
            if made:
                made.close()
        finally:
            shutil.rmtree(folder)


@pytest.fixture
def lab(request):
    kind = request.getfixturevalue("own" if request.param == "own" else "images")
    with opened(kind, getattr(kind, "folder", Path("/var/tmp"))) as made:
        yield made


@pytest.fixture
def service(lab):
    link = lab.add("superlink", 10, **watching.TRAINING)
    nodes = [lab.add("supernode", 11), lab.add("supernode", 12)]
    lab.start_onegate()
    return link, nodes


@pytest.fixture
def tell(capsys):
    """Print a line of the transcript, with the seconds since the test began; unasked only where it fails."""
    began = time.monotonic()

    def line(text):
        with capsys.disabled() if ASKED_FOR else nullcontext():
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
