"""What building oneflower makes of the kernel's source."""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from oneflower.aggregation import compiled
from oneflower.aggregation.compiled import choose

ROOT = Path(__file__).parents[1]


def _load():
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = _load()


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """A compiler that is done at once."""
    monkeypatch.delenv("ONEFLOWER_KERNEL", raising=False)
    text = 'while [ "$1" != -o ]; do shift; done; echo library > "$2"'
    monkeypatch.setenv("CC", program(tmp_path / "quick-cc", text))


needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@needs_compiler
def test_the_library_is_of_this_source_and_gives_numpys_bytes(tmp_path):
    library = tmp_path / "libkernel.so"
    assert build.compile_kernel(library) is None
    assert choose(library, {}).kernel is not None
    assert [path.name for path in tmp_path.iterdir()] == ["libkernel.so"]


def test_build_and_package_read_the_same_sources():
    assert build.SOURCES == compiled.SOURCES
    assert build.LIBRARY == compiled.LIBRARY


def test_without_a_compiler_there_is_no_library_and_a_reason(tmp_path):
    library = tmp_path / "libkernel.so"
    library.write_bytes(b"of an earlier build")
    reason = build.compile_kernel(library, {"PATH": str(tmp_path)})
    assert "no C compiler" in reason
    assert not library.exists()


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 'kernel.c: error: no' >&2; exit 1", "kernel.c: error: no"),
        ("exit 3", "3"),
        ("exit 0", "0"),  # says that all is well, and has written nothing
    ],
)
def test_a_compiler_that_fails_leaves_no_library(tmp_path, script, expected):
    library = tmp_path / "out" / "libkernel.so"
    library.parent.mkdir()
    library.write_bytes(b"of an earlier build")
    reason = build.compile_kernel(library, {"CC": program(tmp_path / "mycc", script), "PATH": os.defpath})
    assert expected in reason
    assert not list(library.parent.iterdir())


def test_a_compiler_that_hangs_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "LIMIT_S", 0.2)
    hanging = program(tmp_path / "mycc", "exec sleep 60")
    assert "timed out" in build.compile_kernel(tmp_path / "libkernel.so", {"CC": hanging, "PATH": os.defpath})


def test_no_asks_no_compiler(tmp_path):
    reason = build.compile_kernel(tmp_path / "libkernel.so", {"ONEFLOWER_KERNEL": "NO", "CC": "/none"})
    assert reason == "ONEFLOWER_KERNEL is NO"


def test_the_options_of_a_compiler_are_passed_on(tmp_path):
    library = tmp_path / "libkernel.so"
    mine = program(tmp_path / "mycc", f'echo "$1" > {tmp_path}/first; exit 1')
    build.compile_kernel(library, {"CC": f"{mine} --target=here", "PATH": os.defpath})
    assert (tmp_path / "first").read_text() == "--target=here\n"


class Hook(build.CustomBuildHook):
    def __init__(self):  # hatchling's own wants a whole build
        pass


def made(version, data=None):
    hook, data = Hook(), {"force_include": {}} if data is None else data
    hook.initialize(version, data)
    there = [Path(path).exists() for path in data["force_include"]]
    hook.finalize(version, data, "")
    return data, there, [Path(path).exists() for path in data["force_include"]]


@pytest.mark.usefixtures("quick")
def test_a_wheel_has_the_library_and_the_tag_of_the_machine():
    data, before, after = made("standard")
    assert list(data["force_include"].values()) == ["oneflower/aggregation/libkernel.so"]
    assert data["tag"].startswith("py3-none-linux_")
    assert data["pure_python"] is False
    assert (before, after) == ([True], [False])


def test_a_wheel_without_a_kernel_is_pure(monkeypatch):
    monkeypatch.setenv("ONEFLOWER_KERNEL", "NO")
    assert made("standard")[0] == {"force_include": {}}


@pytest.mark.usefixtures("quick")
def test_an_install_in_place_compiles_in_place(monkeypatch, tmp_path):
    monkeypatch.setattr(build, "LIBRARY", tmp_path / "libkernel.so")
    data, _, _ = made("editable")
    assert data == {"force_include": {}}
    assert (tmp_path / "libkernel.so").read_text() == "library\n"


@pytest.mark.usefixtures("quick")
@pytest.mark.skipif(
    importlib.util.find_spec("hatchling") is None, reason="the build backend is not installed"
)
@pytest.mark.parametrize("kernel", ["YES", "NO"])
def test_pip_builds_a_wheel_with_and_without_the_library(tmp_path, kernel):
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        str(ROOT),
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
    ]
    environ = os.environ | {"ONEFLOWER_KERNEL": kernel}
    subprocess.run(
        [*command, "--disable-pip-version-check", "-q"], env=environ, check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert ("oneflower/aggregation/libkernel.so" in names) == (kernel == "YES")
    assert ("py3-none-any" in wheel.name) == (kernel == "NO")
    assert "oneflower/aggregation/kernel.c" in names
    assert "oneflower/aggregation/kernel_products.h" in names
