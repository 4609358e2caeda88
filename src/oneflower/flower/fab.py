"""Pack an app's folder into a Flower App Bundle (FAB), in memory, after checking that it is a Flower app."""

import copy
import hashlib
import io
import re
import tomllib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from oneflower.errors import AppError
from oneflower.files import read_bytes
from oneflower.flower import bundles
from oneflower.flower.fab_components import component_problem, module_file
from oneflower.flower.packing_rules import SUFFIXES, PackingRules
from oneflower.foreign_text import LONGEST_NAME
from oneflower.settings import declared

PYPROJECT = "pyproject.toml"
# What Flower packs (flwr/common/constant.py, FAB_INCLUDE_PATTERNS): data beside the code is not walked.
PACKED = ("*.py", "*.toml", "*.md", ".gitignore")
LARGEST, LARGE_BYTES = 3, 100_000
MOST_PYPROJECT_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Fab:
    """A packed app: its bytes, their SHA-256 in hex, ``publisher/name`` and the version.

    ``own`` are the run-config keys that the app declares itself, with their defaults.
    """

    content: bytes
    hash: str
    id: str
    version: str
    own: Mapping[str, bool | int | float | str] = field(default_factory=dict)


def digest(content: bytes) -> str:
    """Return the SHA-256 of a FAB in hex: the name that Flower knows it by."""
    return hashlib.sha256(content).hexdigest()


def build_fab(app_dir: Path, values: Mapping[str, bool | int | float | str] = MappingProxyType({})) -> Fab:
    """Pack the app, with `values` as defaults of its run-config; its own files stay as they are.

    oneflower's run-config keys are declared in the packed copy, in a table of their own and under the plain
    names that the app leaves free, because Flower fails a run whose configuration holds an undeclared key.

    Raises
    ------
    AppError
        The folder is no Flower app, or is too large; the text names everything that is missing.
    """
    try:
        return _packed(app_dir, values)
    except RecursionError as error:
        raise AppError(
            f"{app_dir} cannot be packed: the tables of its {PYPROJECT} are nested too deep. Expected a few "
            "levels; make them flat"
        ) from error


def _packed(app_dir: Path, values: Mapping[str, bool | int | float | str]) -> Fab:
    config = _read_config(app_dir)
    problems = _problems(app_dir, config)
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise AppError(f"{app_dir} is not a Flower app that can run:\n{listed}\n{HOW_TO_FIX}")
    if values:
        config = _with_values(config, values)
    files = {
        path.relative_to(app_dir).as_posix(): path
        for pattern in PACKED
        for path in app_dir.rglob(pattern)
        if path.is_file()
    }
    try:
        content = bundles.pack(files, declare_keys(config))
    except (ValueError, TypeError, OSError, re.error) as error:  # also of the patterns in .gitignore
        raise AppError(f"{app_dir} cannot be packed: {error}{_largest(files)}") from error
    _check_packed(app_dir, config, content)
    fab_id, version = bundles.id_and_version(config)
    return Fab(
        content=content,
        hash=digest(content),
        id=fab_id,
        version=str(version),
        own=bundles.flat(_table(config)),
    )


def packed_names(fab: bytes) -> frozenset[str]:
    """Return the paths in a bundle."""
    with zipfile.ZipFile(io.BytesIO(fab)) as archive:
        return frozenset(archive.namelist())


def _largest(files: Mapping[str, Path]) -> str:
    """Name the largest files where a bundle is refused, which may be for its size."""
    sizes = sorted(((path.stat().st_size, name) for name, path in files.items()), reverse=True)
    large = [f"{name} ({size / 1e6:.1f} MB)" for size, name in sizes[:LARGEST] if size >= LARGE_BYTES]
    return f" Its largest files: {', '.join(large)}." if large else ""


def _check_packed(app_dir: Path, config: dict[str, Any], content: bytes) -> None:
    """Refuse an app whose own parts are not in its bundle, with the rule that leaves them out."""
    names, rules = packed_names(content), PackingRules.of(app_dir)
    missing = {}
    for part, reference in zip(("serverapp", "clientapp"), bundles.components(config), strict=True):
        source = module_file(app_dir, str(reference).partition(":")[0])
        if source is None or not source.is_relative_to(app_dir):
            continue
        name = source.relative_to(app_dir).as_posix()
        if name not in names:
            left_out = rules.left_out(name)
            missing[f'{part} = "{reference}"'] = f"{left_out.text}. {left_out.fix}"
    if missing:
        listed = "\n".join(f"  - {part}: {problem}" for part, problem in missing.items())
        raise AppError(f"{app_dir} has parts that Flower does not pack:\n{listed}")
    if not any(Path(name).suffix in SUFFIXES for name in names - {PYPROJECT}):
        raise AppError(
            f"{app_dir} cannot be packed: Flower leaves out all files but {PYPROJECT} and cannot unpack such "
            f"a bundle. Add a README.md, or a line in .gitignore that keeps a file (for example !/README.md)"
        )


HOW_TO_FIX = (
    "A Flower app is a folder with a pyproject.toml that names its two parts under "
    '[tool.flwr.app.components], for example serverapp = "my_app.server_app:app" and '
    'clientapp = "my_app.client_app:app", and these modules beside it.'
)


def declare_keys(config: dict[str, Any]) -> dict[str, Any]:
    """Return the pyproject with oneflower's run-config keys declared; the app's own defaults win."""
    app, table = config["tool"]["flwr"]["app"], _table(config)
    app = {**app, "config": declared(table, bundles.flat(table))}
    return {**config, "tool": {**config["tool"], "flwr": {**config["tool"]["flwr"], "app": app}}}


def _with_values(config: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pyproject with these run-config values, by their keys with dots."""
    table = copy.deepcopy(_table(config))
    for key, value in values.items():
        *parents, name = key.split(".")
        inner = table
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise AppError(
                    f"the run-config key {key[:LONGEST_NAME]} cannot be set: {parent[:LONGEST_NAME]} is one "
                    f"value in the app's {PYPROJECT}, not a table. Give a key that the app declares"
                )
        inner[name] = value
    app = {**config["tool"]["flwr"]["app"], "config": table}
    return {**config, "tool": {**config["tool"], "flwr": {**config["tool"]["flwr"], "app": app}}}


def declared_keys(app_dir: Path) -> dict[str, Any]:
    """Return the run-config keys that an app's pyproject.toml declares itself, with their defaults."""
    return dict(bundles.flat(_table(_read_config(app_dir))))


def _table(config: Mapping[str, Any]) -> dict[str, Any]:
    return dict(config["tool"]["flwr"]["app"].get("config", {}))


def declared_keys_of(fab: bytes) -> dict[str, Any]:
    """Return the run-config keys that a packed app declares, with their defaults."""
    return dict(bundles.declared_config(fab))


def stored_bundle(folder: Path, fab_hash: str) -> Path:
    """Return where a SuperLink with this storage folder keeps a bundle, by its SHA-256."""
    return Path(bundles.stored_file(folder, fab_hash))


def dependencies_of(fab: Fab) -> list[str]:
    """Return the packages that a packed app asks for, each as pip writes it."""
    return bundles.dependencies(fab.content)


def _read_config(app_dir: Path) -> dict[str, Any]:
    path = app_dir / PYPROJECT
    if not app_dir.is_dir():
        raise AppError(f"there is no app folder {app_dir}: give the folder that holds the app's {PYPROJECT}")
    try:
        return tomllib.loads(read_bytes(path, MOST_PYPROJECT_BYTES).decode())
    except FileNotFoundError:
        raise AppError(f"{app_dir} is not a Flower app: it has no {PYPROJECT}. {HOW_TO_FIX}") from None
    except (OSError, ValueError) as error:  # tomllib raises plain ones, too: of a number with 5000 digits
        raise AppError(f"{path} cannot be read as TOML: {error}") from error


def _problems(app_dir: Path, config: dict[str, Any]) -> list[str]:
    try:
        errors = bundles.field_problems(config)
    except (TypeError, AttributeError, ValueError, KeyError) as error:
        return [f"{PYPROJECT}: {error}"]
    if errors:
        return [f"{PYPROJECT}: {error}" for error in errors]
    if any(len(text) > LONGEST_NAME for text in map(str, bundles.id_and_version(config))):
        return [f"{PYPROJECT}: publisher and name, or the version, have more than {LONGEST_NAME} characters"]
    references = zip(("serverapp", "clientapp"), bundles.components(config), strict=True)
    found = (component_problem(app_dir, part, reference) for part, reference in references)
    return [problem for problem in found if problem]
