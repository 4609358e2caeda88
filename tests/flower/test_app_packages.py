"""Wheels beside the apps are installed whole, without a network, and replace nothing of the image."""

import hashlib
import io
import sys
import zipfile

import pytest

from oneflower.errors import AppError
from oneflower.flower import app_packages
from oneflower.flower.app_packages import install_wheels, prepare_packages, use_packages


def wheel(folder, name, version="1.0", tag="py3-none-any", needs=()):
    """Write a wheel of one module as setuptools would."""
    module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    requires = "".join(f"Requires-Dist: {each}\n" for each in needs)
    files = {
        f"{module}.py": f"VERSION = '{version}'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)
    file = folder / f"{module}-{version}-{tag}.whl"
    file.write_bytes(buffer.getvalue())
    return file


@pytest.fixture
def wheels(tmp_path):
    return tmp_path / "apps" / "wheels"


@pytest.fixture
def packages(tmp_path, monkeypatch):
    folder = tmp_path / "packages"
    monkeypatch.setenv("ONEFLOWER_PACKAGES", str(folder))
    monkeypatch.setenv("ONEFLOWER_APPS", str(tmp_path / "apps"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return folder


def installed(command):
    """Play pip: make a folder of the wheels' names."""
    folder = app_packages.Path(command[command.index("--target") + 1])
    folder.mkdir()
    for file in command[command.index("--target") + 2 :]:
        (folder / app_packages.Path(file).name).write_text("installed")


def test_a_wheel_is_installed_by_pip_and_can_be_imported(wheels, packages, monkeypatch):
    wheel(wheels, "oneflower-test-only")
    environ = {"ONEFLOWER_APPS": str(wheels.parent), "ONEFLOWER_PACKAGES": str(packages)}
    prepare_packages(environ)
    use_packages(environ)
    assert sys.path[-1] == str((packages / "current").resolve())
    assert __import__("oneflower_test_only").VERSION == "1.0"
    del sys.modules["oneflower_test_only"]


def test_a_package_of_the_image_is_not_replaced(wheels, packages):
    wheel(wheels, "numpy", "99.0")
    wheel(wheels, "oneflower", "99.0")
    asked = []
    install_wheels(wheels, packages, run=asked.append)
    assert asked == []
    use_packages({"ONEFLOWER_PACKAGES": str(packages)})
    assert __import__("numpy").__version__ != "99.0"


def test_nothing_is_installed_twice_and_other_wheels_replace_the_folder(wheels, packages):
    wheel(wheels, "first")
    asked = []

    def run(command):
        asked.append(command)
        installed(command)

    install_wheels(wheels, packages, run=run)
    install_wheels(wheels, packages, run=run)
    assert len(asked) == 1
    before = (packages / "current").resolve()
    wheel(wheels, "second")
    install_wheels(wheels, packages, run=run)
    assert {file.name[:6] for file in (packages / "current").iterdir()} == {"first-", "second"}
    assert not before.exists()


def test_a_crash_while_installing_leaves_the_folder_of_before(wheels, packages):
    wheel(wheels, "first")
    install_wheels(wheels, packages, run=installed)
    before = (packages / "current").resolve()
    wheel(wheels, "second")

    def crash(command):
        installed(command)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        install_wheels(wheels, packages, run=crash)
    assert (packages / "current").resolve() == before
    install_wheels(wheels, packages, run=installed)
    assert len(list((packages / "current").iterdir())) == 2


def test_without_wheels_nothing_is_made_and_what_was_there_goes(wheels, packages):
    install_wheels(wheels, packages, run=installed)
    assert not packages.exists()
    file = wheel(wheels, "first")
    install_wheels(wheels, packages, run=installed)
    file.unlink()
    install_wheels(wheels, packages, run=installed)
    assert not (packages / "current").exists()


def test_two_versions_and_a_file_that_is_no_wheel_are_named(wheels, packages):
    wheel(wheels, "first", "1.0")
    wheel(wheels, "first", "2.0")
    with pytest.raises(AppError, match=r"two wheels of first, first-1\.0.* and first-2\.0"):
        install_wheels(wheels, packages, run=installed)
    (wheels / "first-2.0-py3-none-any.whl").rename(wheels / "first.whl")
    with pytest.raises(AppError, match="is no wheel"):
        install_wheels(wheels, packages, run=installed)


def test_a_wheel_for_another_machine_is_refused_with_pips_words(wheels, packages):
    wheel(wheels, "elsewhere", tag="cp39-cp39-win32")
    with pytest.raises(AppError, match=r"(?s)cannot be installed: .*not a supported wheel"):
        install_wheels(wheels, packages)
    assert not (packages / "current").exists()


def test_the_network_and_the_environment_of_pip_are_left_out(wheels, packages, monkeypatch):
    """An index that somebody named for pip is not asked."""
    seen = {}

    class Done:
        returncode, stdout, stderr = 0, "", ""

    def run(command, **how):
        seen.update(command=command, environ=how["env"])
        installed(list(command))
        return Done

    monkeypatch.setenv("PIP_INDEX_URL", "https://elsewhere.example")
    monkeypatch.setattr(app_packages.subprocess, "run", run)
    file = wheel(wheels, "first")
    assert hashlib.sha256(file.read_bytes()).hexdigest()
    install_wheels(wheels, packages)
    assert {"--no-index", "--no-deps", "--isolated"} <= set(seen["command"])
    assert not [name for name in seen["environ"] if name.startswith("PIP_")]
