"""Check what of an app is packed, and which Flower it asks for."""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path

from oneflower.errors import AppError
from oneflower.findings import Finding, ok, warning
from oneflower.flower.fab import PYPROJECT, Fab, packed_names
from oneflower.flower.packing_rules import EXTENSION, LeftOut, PackingRules

LEFT_OUT, FLOWER = "left-out", "flower-version"
_SHOWN, _MOST_FILES = 5, 20_000
_MODULE = re.compile(r"No module named '([\w.]+)'()")
_MEMBER = re.compile(r"cannot import name '(\w+)' from '([\w.]+)'")
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

HOW_TO_VERSION = (
    "Correct the dependency in pyproject.toml if the app runs with this Flower; see docs/limits.md"
)


def files_left_out(app_dir: Path, fab: Fab) -> list[LeftOut]:
    """Return the files of the app's folder that are not in its bundle, without data beside its packages."""
    packed, rules = packed_names(fab.content), PackingRules.of(app_dir)
    missing = [name for name in islice(rules.files(), _MOST_FILES) if name not in packed]
    found = [rules.left_out(name) for name in missing]
    return [each for each in found if each.rule != EXTENSION or "/" in each.name]


def left_out(missing: Sequence[LeftOut]) -> Finding:
    """Name the files that are left out, by the rule that leaves them out."""
    if not missing:
        return ok(LEFT_OUT, "all files of the app are in its bundle")
    by_rule: dict[str, list[LeftOut]] = {}
    for each in sorted(missing, key=lambda each: each.rule == EXTENSION):  # code comes first
        by_rule.setdefault(each.rule, []).append(each)
    said = [f"by {rule}: {_few([each.name for each in files])}" for rule, files in by_rule.items()]
    fixes = [files[0].fix for files in by_rule.values()]
    return warning(LEFT_OUT, _few(said, "; "), ". ".join(fixes[:_SHOWN]))


def named(missing: Sequence[LeftOut], error: str) -> LeftOut | None:
    """Return the left out file that an error asks for; None where it asks for none of them."""
    module = _MODULE.search(error) or _MEMBER.search(error)
    if module is not None:
        path = "/".join(".".join(filter(None, reversed(module.groups()))).split("."))
        return next((each for each in missing if each.name.startswith((f"{path}.py", f"{path}/"))), None)
    if "No such file" not in error:
        return None
    return next((each for each in missing if f"{Path(each.name).name}'" in error), None)


def _few(names: Sequence[str], comma: str = ", ") -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{comma.join(names[:_SHOWN])}{more}"


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
