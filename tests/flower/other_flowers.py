"""Environments in which another Flower is installed, or none, for programs that are started in them."""

import os
import sysconfig
from pathlib import Path

SITE = Path(sysconfig.get_path("purelib"))
METADATA = "Metadata-Version: 2.1\nName: flwr\nVersion: {version}\n"
# Nothing of Flower's, nor what only Flower brings: as in an environment where it was never installed.
FLOWERS = ("flwr", "grpc", "google", "protobuf", "tomli_w")
HIDE = """
import sys
sys.path[:] = [{mirror!r} if entry == {site!r} else entry for entry in sys.path]
"""
PUBLIC = {
    "app": "Array ArrayRecord ConfigRecord Context Message MetricRecord RecordDict",
    "clientapp": "ClientApp",
    "serverapp": "Grid ServerApp",
    "common": "Array Message log",
}


def same_code(folder, version="1.26.0"):
    """Install the released Flower under another version: every private name is there."""
    (folder / "flwr").symlink_to(SITE / "flwr")
    return _with_metadata(folder, version)


def public_only(folder, version="2.0.0"):
    """Install a Flower of which only the public names are left."""
    package = folder / "flwr"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for module, names in PUBLIC.items():
        lines = [f"class {name}: ...\n" for name in names.split()]
        (package / f"{module}.py").write_text("".join(lines))
    return _with_metadata(folder, version)


def none(folder):
    """Hide the Flower that is installed, and the packages that came with it."""
    mirror = folder / "mirror"
    mirror.mkdir(parents=True)
    for entry in SITE.iterdir():
        if not entry.name.lower().startswith(FLOWERS):
            (mirror / entry.name).symlink_to(entry)
    (folder / "sitecustomize.py").write_text(HIDE.format(mirror=str(mirror), site=str(SITE)))
    return _environ(folder)


def _with_metadata(folder, version):
    metadata = folder / f"flwr-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(METADATA.format(version=version))
    return _environ(folder)


def _environ(folder):
    return {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
