"""Flower App Bundles (FAB): check a pyproject.toml, pack, unpack, read the configuration."""

from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from oneflower.flower.door import port  # first: it checks the version

import tomli_w  # isort: skip - Flower brings it

PYPROJECT = "pyproject.toml"


def field_problems(pyproject: Mapping[str, Any]) -> list[str]:
    """Name everything that a Flower app must declare and a pyproject.toml does not.

    Raises
    ------
    TypeError, AttributeError, ValueError
        A table of it is something else.
    """
    return list(port.validate_fields_in_config(dict(pyproject))[1])


def id_and_version(pyproject: Mapping[str, Any]) -> tuple[str, str]:
    """Return the app's ``publisher/name`` and version."""
    return port.get_metadata_from_config(dict(pyproject))


def components(pyproject: Mapping[str, Any]) -> tuple[str, str]:
    """Return the references (``module:attribute``) of the ServerApp and the ClientApp."""
    parts = pyproject["tool"]["flwr"]["app"]["components"]
    return parts["serverapp"], parts["clientapp"]


def flat(config: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Return nested run-config tables as one, with dots in the keys."""
    return port.flatten_dict(dict(config))


def pack(files: Mapping[str, Path], pyproject: Mapping[str, Any]) -> bytes:
    """Pack files, by their paths in the app, with this pyproject.toml.

    Raises
    ------
    ValueError
        The bundle is too large.
    """
    return port.build_fab({**files, PYPROJECT: tomli_w.dumps(pyproject).encode()})


def declared_config(fab: bytes) -> dict[str, bool | int | float | str]:
    """Return the run-config keys that a packed app declares, with their defaults.

    Raises
    ------
    BadZipFile, KeyError, ValueError
        The bytes are no bundle.
    """
    return flat(port.get_fab_config(fab)["tool"]["flwr"]["app"].get("config", {}))


def dependencies(fab: bytes) -> list[str]:
    """Return the packages that a packed app asks for, as its pyproject.toml writes them."""
    listed = port.get_fab_config(fab).get("project", {}).get("dependencies", [])
    return [str(each) for each in listed] if isinstance(listed, list) else []


def stored_file(folder: Path, fab_hash: str) -> Path:
    """Return where a SuperLink with this storage folder keeps the bundle of a run."""
    return folder / fab_hash


def unpack(fab: bytes, *, home: Path) -> Path:
    """Unpack a bundle below the folder where Flower keeps apps, as a SuperLink or a SuperNode does.

    Returns
    -------
    Path
        The app's folder.
    """
    with redirect_stdout(StringIO()):  # Flower prints where it has unpacked it
        return port.install_fab(fab, home)


def unpacked_components(folder: Path) -> tuple[str, str]:
    """Return the references of an unpacked app's ServerApp and ClientApp."""
    return components(port.get_project_config(folder))


def unpacked_config(folder: Path, run_config: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Return the run-config of an unpacked app, with `run_config` over its defaults."""
    return port.get_fused_config_from_dir(folder, dict(run_config))
