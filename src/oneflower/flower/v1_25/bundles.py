"""Flower App Bundles (FAB): check a pyproject.toml, pack, unpack, read the configuration."""

from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import tomli_w
from flwr.cli.build import build_fab_from_files
from flwr.cli.install import install_from_fab
from flwr.common.config import (
    flatten_dict,
    get_fab_config,
    get_fused_config_from_dir,
    get_metadata_from_config,
    get_project_config,
    get_project_dir,
    validate_fields_in_config,
)

from oneflower.flower.v1_25.private import PrivateUse

PYPROJECT = "pyproject.toml"


def field_problems(pyproject: Mapping[str, Any]) -> list[str]:
    """Name everything that a Flower app must declare and a pyproject.toml does not.

    Raises
    ------
    TypeError, AttributeError, ValueError
        A table of it is something else.
    """
    return list(validate_fields_in_config(dict(pyproject))[1])


def id_and_version(pyproject: Mapping[str, Any]) -> tuple[str, str]:
    """Return the app's ``publisher/name`` and version."""
    return get_metadata_from_config(dict(pyproject))


def components(pyproject: Mapping[str, Any]) -> tuple[str, str]:
    """Return the references (``module:attribute``) of the ServerApp and the ClientApp."""
    parts = pyproject["tool"]["flwr"]["app"]["components"]
    return parts["serverapp"], parts["clientapp"]


def flat(config: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Return nested run-config tables as one, with dots in the keys."""
    return flatten_dict(dict(config))


def pack(files: Mapping[str, Path], pyproject: Mapping[str, Any]) -> bytes:
    """Pack files, by their paths in the app, with this pyproject.toml.

    Raises
    ------
    ValueError
        The bundle is too large.
    """
    content: dict[str, bytes | Path] = {**files, PYPROJECT: tomli_w.dumps(pyproject).encode()}
    return build_fab_from_files(content)


def declared_config(fab: bytes) -> dict[str, bool | int | float | str]:
    """Return the run-config keys that a packed app declares, with their defaults.

    Raises
    ------
    BadZipFile, KeyError, ValueError
        The bytes are no bundle.
    """
    return flat(get_fab_config(fab)["tool"]["flwr"]["app"].get("config", {}))


def dependencies(fab: bytes) -> list[str]:
    """Return the packages that a packed app asks for, as its pyproject.toml writes them."""
    listed = get_fab_config(fab).get("project", {}).get("dependencies", [])
    return [str(each) for each in listed] if isinstance(listed, list) else []


def stored_file(folder: Path, fab_hash: str) -> Path:
    """Return where a SuperLink with this storage folder keeps the bundle of a run."""
    return folder / fab_hash


def unpack(fab: bytes, *, home: Path) -> None:
    """Unpack a bundle below the folder where Flower keeps apps, as a SuperLink or a SuperNode does."""
    with redirect_stdout(StringIO()):  # Flower prints where it has unpacked it
        install_from_fab(fab, home, skip_prompt=True)


def unpacked_folder(fab_id: str, version: str, fab_hash: str, *, home: Path) -> Path:
    """Return the folder into which `unpack` puts an app."""
    return get_project_dir(fab_id, version, fab_hash, home)


def unpacked_components(folder: Path) -> tuple[str, str]:
    """Return the references of an unpacked app's ServerApp and ClientApp."""
    return components(get_project_config(folder))


def unpacked_config(folder: Path, run_config: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Return the run-config of an unpacked app, with `run_config` over its defaults."""
    return get_fused_config_from_dir(folder, dict(run_config))


USE = PrivateUse(
    name="app-bundles",
    why="Check, pack and unpack apps in memory. Flower's commands `flwr build` and `flwr install` write "
    "files beside the app and print for people.",
    sources={
        "flwr.cli.build": {"build_fab_from_files": "3effd5d7e0c9"},
        "flwr.cli.install": {"install_from_fab": "e9d32b45b1f5"},
        "flwr.common.config": {
            "flatten_dict": "a8ae88acf654",
            "get_fab_config": "99a9a8004cd3",
            "get_fused_config_from_dir": "42c760e339fe",
            "get_metadata_from_config": "8da9f8ff1489",
            "get_project_config": "8dd34346adf9",
            "get_project_dir": "5b9f4255c225",
            "validate_fields_in_config": "2b3cb9b900dc",
        },
        # A SuperLink's storage names the bundles by their SHA-256.
        "flwr.supercore.ffs.disk_ffs": {"DiskFfs.put": "beb6670ab92f"},
        # `fab.py` walks the folder for the files that Flower packs.
        "flwr.common.constant": {"FAB_INCLUDE_PATTERNS": "249ca1eee6fe"},
    },
)
