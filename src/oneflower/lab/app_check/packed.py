"""Check what of an app is packed, and which Flower it asks for."""

import io
import re
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from itertools import islice
from pathlib import Path

from oneflower.errors import AppError
from oneflower.findings import Finding, ok, warning
from oneflower.flower.fab import PYPROJECT, Fab

LEFT_OUT, FLOWER = "left-out", "flower-version"
_NEVER = frozenset({"__pycache__", "node_modules", "dist", "build"})
_CODE = frozenset({".py", ".toml", ".md"})
_SHOWN, _MOST_FILES = 5, 20_000
_CLAUSE = re.compile(r"(>=|<=|==|~=|!=|>|<)\s*([0-9]+(?:\.[0-9]+)*)")
_HOLDS: Mapping[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    ">=": lambda here, wanted: here >= wanted,
    "<=": lambda here, wanted: here <= wanted,
    "==": lambda here, wanted: here[: len(wanted)] == wanted,
    "~=": lambda here, wanted: here >= wanted and here[: len(wanted) - 1] == wanted[:-1],
    "!=": lambda here, wanted: here != wanted,
    ">": lambda here, wanted: here > wanted,
    "<": lambda here, wanted: here < wanted,
}

HOW_TO_PACK_DATA = (
    "Flower packs .py, .toml and .md files only: read other files from a mounted folder, or put them into a "
    "Python package that is installed on every machine"
)
HOW_TO_UNIGNORE = "Remove the line of .gitignore that names it, or rename the folder: the app runs without it"
HOW_TO_VERSION = (
    "Correct the dependency in pyproject.toml if the app runs with this Flower; see docs/limits.md"
)


def left_out(app_dir: Path, fab: Fab) -> Finding:
    """Name the files of the app's folder that are not in its bundle, by the rule that leaves them out."""
    with zipfile.ZipFile(io.BytesIO(fab.content)) as archive:
        packed = set(archive.namelist())
    missing = [name for name in islice(_files(app_dir), _MOST_FILES) if name not in packed]
    ignored = [name for name in missing if Path(name).suffix in _CODE]
    others = [name for name in missing if Path(name).suffix not in _CODE and "/" in name]
    if ignored:
        return warning(LEFT_OUT, f"by .gitignore: {_few(ignored)}", HOW_TO_UNIGNORE)
    if others:
        return warning(LEFT_OUT, f"by their extension: {_few(others)}", HOW_TO_PACK_DATA)
    return ok(LEFT_OUT, "all files of the app are in its bundle")


def _files(folder: Path, prefix: str = "") -> Iterator[str]:
    """Yield the paths below a folder, without hidden ones and what builds leave behind."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in _NEVER or path.name.endswith(".egg-info"):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files(path, f"{prefix}{path.name}/")
        else:
            yield f"{prefix}{path.name}"


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def flower_version(app_dir: Path) -> Finding:
    """Compare the Flower that an app's dependencies ask for with the one that is installed."""
    here = version("flwr")
    wanted = _requirement(app_dir)
    if wanted is None:
        return ok(FLOWER, f"the app asks for no version of Flower; {here} is installed")
    clauses = _CLAUSE.findall(wanted)
    if all(_HOLDS[sign](_numbers(here), _numbers(text)) for sign, text in clauses):
        return ok(FLOWER, f"the app asks for {wanted}; {here} is installed")
    return warning(
        FLOWER,
        f"the app asks for {wanted}, and {here} is installed: it may use what this Flower does not have",
        HOW_TO_VERSION,
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall("[0-9]+", text)[:3])


def _requirement(app_dir: Path) -> str | None:
    try:
        project = tomllib.loads((app_dir / PYPROJECT).read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError) as error:
        raise AppError(f"{app_dir / PYPROJECT} cannot be read: {error}") from error
    listed = project.get("dependencies", [])
    names = [each for each in listed if isinstance(each, str) and re.match(r"flwr\b", each.strip())]
    return names[0].strip() if names else None
