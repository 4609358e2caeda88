"""A bundle that is damaged, or made to harm, gives one error of oneflower's, and costs no memory."""

import hashlib
import io
import random
import subprocess
import sys
import zipfile
from contextlib import suppress

import pytest

from oneflower.errors import AppError, OneflowerError
from oneflower.flower.fab import build_fab
from oneflower.flower.fab_file import repacked_fab

PYPROJECT = b"""
[project]
name = "tiny"
version = "1.0.0"
[tool.flwr.app]
publisher = "me"
[tool.flwr.app.components]
serverapp = "a.s:app"
clientapp = "a.c:app"
[tool.flwr.app.config]
x = 1
"""
FILES = {
    "pyproject.toml": PYPROJECT,
    "a/__init__.py": b"",
    "a/s.py": b"app = 1\n" * 400,
    "a/c.py": b"app = 1\n",
}


def fab(files=None, method=zipfile.ZIP_DEFLATED):
    packed, given = io.BytesIO(), {**FILES, **(files or {})}
    lines = [f"{name},{hashlib.sha256(text).hexdigest()},{8 * len(text)}" for name, text in given.items()]
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, text in given.items():
            archive.writestr(name, text)
        archive.writestr(".info/CONTENT", "\n".join(lines))
    return packed.getvalue()


def damaged(method):
    content = bytearray(fab(method=method))
    at = content.find(b"a/s.py") + 12
    content[at : at + 12] = b"\xff" * 12
    return bytes(content)


HOSTILE = {
    "deflate": damaged(zipfile.ZIP_DEFLATED),
    "lzma": damaged(zipfile.ZIP_LZMA),
    "bzip2": damaged(zipfile.ZIP_BZIP2),
    "file and folder": fab({"a/c.py/x.py": b"1"}),
    "long name": fab({f"a/{'x' * 300}.py": b"1"}),
    "deep name": fab({"/".join(["d" * 200] * 30) + "/x.py": b"1"}),
    "nested TOML": fab({"pyproject.toml": b"a = " + b"[" * 3000 + b"]" * 3000}),
    "long number": fab({"pyproject.toml": PYPROJECT.replace(b"x = 1", b"x = " + b"1" * 5000)}),
    "long hex number": fab({"pyproject.toml": PYPROJECT.replace(b"x = 1", b"x = 0x" + b"f" * 5000)}),
    "deep keys": fab({"pyproject.toml": PYPROJECT.replace(b"x = 1", b".".join([b"x"] * 2000) + b" = 1")}),
    "tool is a list": fab({"pyproject.toml": b"tool = [1]\n[project]\nname='a'\nversion='1'"}),
    "long version": fab({"pyproject.toml": PYPROJECT.replace(b"1.0.0", b"1" * 500)}),
    "root module": fab({"pyproject.toml": PYPROJECT.replace(b"a.s:app", b"/:app")}),
    "absolute module": fab({"pyproject.toml": PYPROJECT.replace(b"a.s:app", b"/etc/x:app")}),
    "long module": fab({"pyproject.toml": PYPROJECT.replace(b"a.s:app", b"m" * 400 + b":app")}),
    "deep operators": fab({"a/s.py": b"app = " + b"-" * 200_000 + b"1"}),
    "deep brackets": fab({"a/s.py": b"app = " + b"(" * 5000 + b")" * 5000}),
    "bad pattern": fab({".gitignore": b"[z-a]\n***/[!\n"}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_somebody_made_up_is_refused_with_one_error(name):
    with pytest.raises(AppError) as told:
        repacked_fab(HOSTILE[name], "the bundle")
    assert "the bundle" in str(told.value)
    assert "fab-" not in str(told.value), "the folder of this process is nobody's business"


@pytest.mark.parametrize("key", ["x.y", "x.y.z", ".".join(["k"] * 3000)])
def test_a_setting_that_fits_no_table_is_refused(key):
    with pytest.raises(AppError):
        repacked_fab(fab(), "the bundle", {key: 1})


def test_a_bundle_is_not_unpacked_beyond_what_it_says():
    """A size in the directory is a promise; a stream of 400 KB that becomes 400 MB ends where it says."""
    text = b"#" * (400 << 20)
    bomb = fab({"a/s.py": text}).replace(len(text).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    script = (
        "import resource, sys\n"
        "from oneflower.errors import AppError\n"
        "from oneflower.flower.fab_file import repacked_fab\n"
        "used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    repacked_fab(sys.stdin.buffer.read(), 'it')\n"
        "except AppError:\n    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], input=bomb, capture_output=True, check=True)
    assert int(done.stdout) < 40_000, "in KiB"


def test_mutations_of_a_bundle_raise_nothing_else():
    rng, good = random.Random(16), fab()
    for _ in range(400):
        content = bytearray(good)
        for _ in range(rng.randint(1, 8)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        if rng.random() < 0.2:
            del content[rng.randrange(len(content)) :]
        with suppress(OneflowerError):
            repacked_fab(bytes(content), "the bundle")


def test_an_installed_module_is_found_without_running_its_packages(tmp_path, monkeypatch):
    (tmp_path / "lib/loud/inner").mkdir(parents=True)
    (tmp_path / "lib/loud/__init__.py").write_text("raise RuntimeError('run')")
    (tmp_path / "lib/loud/inner/__init__.py").write_text("raise RuntimeError('run')")
    (tmp_path / "lib/loud/inner/part.py").write_text("app = 1")
    monkeypatch.syspath_prepend(tmp_path / "lib")
    app = tmp_path / "app"
    (app / "a").mkdir(parents=True)
    for name, text in FILES.items():
        (app / name).write_bytes(text)
    (app / "pyproject.toml").write_bytes(PYPROJECT.replace(b"a.s:app", b"loud.inner.part:app"))
    assert build_fab(app).id == "me/tiny"
    (app / "pyproject.toml").write_bytes(PYPROJECT.replace(b"a.s:app", b"loud.inner.none:app"))
    with pytest.raises(AppError, match="none is installed"):
        build_fab(app)
