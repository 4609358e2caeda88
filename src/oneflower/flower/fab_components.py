"""Find the two parts of an app (``module:attribute``) in its files, without importing or running anything."""

import ast
import importlib.machinery
import importlib.util
from pathlib import Path


def component_problem(app_dir: Path, part: str, reference: object) -> str | None:
    """Say why ``module:attribute`` cannot be loaded, without importing the app's code."""
    module, _, attribute = str(reference).partition(":")
    if not _is_dotted(module) or not attribute:
        return f'{part} = "{reference}": expected "module:attribute"'
    source = module_file(app_dir, module)
    if source is None:
        return f'{part} = "{reference}": there is no module {module} in the folder, and none is installed'
    problem = _source_problem(source, attribute.split(".")[0])
    return f'{part} = "{reference}": {source.name} {problem}' if problem else None


def _source_problem(source: Path, name: str) -> str:
    try:
        tree = ast.parse(source.read_bytes(), filename=str(source))
    except (SyntaxError, ValueError) as error:
        return f"is no valid Python: {error}"
    except (RecursionError, MemoryError):  # how Python's parser says that
        return "is nested too deep for Python"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if _binds(tree, name) else f"defines no {name}"


def module_file(app_dir: Path, module: str) -> Path | None:
    """Return the file of a module of the app, or of an installed one; None where there is none."""
    base = app_dir.joinpath(*module.split("."))
    try:
        for candidate in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
            if candidate.is_file():
                return candidate
        top = module.partition(".")[0]
        if (app_dir / top).exists() or (app_dir / f"{top}.py").exists():
            return None  # the app's own package shadows an installed one of the same name
    except OSError:  # a name that is longer than file names may be
        return None
    return _installed(module)


def _installed(module: str) -> Path | None:
    """Return the file of an installed module; `find_spec` alone would import and so run its packages."""
    top, *parts = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
        for number in range(len(parts)):
            places = spec.submodule_search_locations if spec else None
            if places is None:
                return None
            spec = importlib.machinery.PathFinder.find_spec(".".join([top, *parts[: number + 1]]), places)
    except (ImportError, ValueError, OSError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _is_dotted(module: str) -> bool:
    return all(part.isidentifier() for part in module.split("."))


def _binds(tree: ast.Module, name: str) -> bool:
    """Whether a name is bound anywhere in the module; a star import may bind any name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name:
            return True
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == name:
            return True
        if isinstance(node, ast.alias) and (node.asname or node.name.split(".")[0]) in (name, "*"):
            return True
    return False
