"""Imports run downwards, torch stays where it belongs, and modules stay short."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "oneflower"
MODULES = sorted(PACKAGE.rglob("*.py"))

# A module imports from its own folder and from layers with a smaller number.
LAYERS = {
    "cli": 8,
    "local_cluster": 7,
    "supervisor": 6,
    "opennebula": 6,
    "monitor": 6,
    "lab": 6,
    "sdk": 5,
    "stock": 5,
    "training": 4,
    "flower": 3,
    "apps_catalogue": 3,
    "aggregation": 1,
    "checkpoints": 2,
    "settings": 2,
    "journal": 2,
    "tls": 2,
    "stalls": 2,
    "procfs": 1,
    "proxies": 1,
    "kinds": 1,
    "output": 1,
    "foreign_text": 0,
    "bounded_json": 0,
    "files": 1,
    "findings": 1,
    "language_models": 1,
    "versions": 1,
    "parts": 1,
    "node_keys": 1,
    "codes": 0,
    "words": 0,
    "newest": 0,
    "quality": 1,
    "capacity": 1,
    "gpu": 1,
    "errors": 0,
    "__init__": 1,
}
# Torch takes a second and 200 MB; only apps import these modules.
TORCH_MODULES = {
    "oneflower.sdk.client",
    "oneflower.sdk.device",
    "oneflower.sdk.torch_app",
    "oneflower.flower.calls.torch_term",
}
MOST_LINES = 300
LONG_MODULES: dict[str, str] = {  # path below src/oneflower -> why it is one subject
}


def _name(module: Path) -> str:
    parts = module.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(module: Path, *, at_import_time_only: bool = False) -> Iterator[tuple[int, str]]:
    """Yield line and full name of everything that `module` imports."""
    pending: list[ast.AST] = [ast.parse(module.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(module, node)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif at_import_time_only and _runs_later(node):
            continue
        pending += ast.iter_child_nodes(node)


def _base(module: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = module.relative_to(PACKAGE.parent).parts[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def _runs_later(node: ast.AST) -> bool:
    typing_only = isinstance(node, ast.If) and ast.unparse(node.test) in {
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
    }
    return typing_only or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def _part(name: str) -> str:
    """Return the folder below oneflower that a full name lies in."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LAYERS else "__init__"


def _id(module: Path) -> str:
    return str(module.relative_to(PACKAGE))


def test_every_folder_has_a_layer():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and list(path.rglob("*.py"))}
    assert folders <= set(LAYERS)


@pytest.mark.parametrize("module", MODULES, ids=_id)
def test_imports_run_downwards(module):
    """From the command line down to the errors, as `LAYERS` says."""
    own = _part(_name(module))
    wrong = [
        f"line {line}: {name}"
        for line, name in _imports(module)
        if name.split(".")[0] == "oneflower" and _part(name) != own and LAYERS[_part(name)] >= LAYERS[own]
    ]
    assert not wrong, f"{_id(module)} imports sideways or upwards: {wrong}"


@pytest.mark.parametrize("module", [m for m in MODULES if _name(m) not in TORCH_MODULES], ids=_id)
def test_torch_is_never_loaded_by_oneflower_itself(module):
    """The server and the command line run without torch: only the modules that apps import load it."""
    wrong = [
        f"line {line}: {name}"
        for line, name in _imports(module, at_import_time_only=True)
        if name.split(".")[0] == "torch" or _loads_torch(name)
    ]
    assert not wrong, f"{_id(module)} loads torch when it is imported: {wrong}"


def _loads_torch(name: str) -> bool:
    candidates = {name, name.rpartition(".")[0]} & TORCH_MODULES
    for candidate in candidates:
        path = PACKAGE.parent.joinpath(*candidate.split(".")).with_suffix(".py")
        if any(found.split(".")[0] == "torch" for _, found in _imports(path, at_import_time_only=True)):
            return True
    return False


@pytest.mark.parametrize("module", MODULES, ids=_id)
def test_a_module_is_one_subject(module):
    lines = len(module.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES or _id(module) in LONG_MODULES, f"{_id(module)} has {lines} lines"


def test_the_list_of_long_modules_holds_no_others():
    for name, reason in LONG_MODULES.items():
        assert reason
        assert len((PACKAGE / name).read_text(encoding="utf-8").splitlines()) > MOST_LINES
