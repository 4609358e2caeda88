"""Write a copy of a starter app, for a framework, under the user's own name."""

import importlib.util
import keyword
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from oneflower.apps_catalogue.find import app_folder
from oneflower.errors import SettingsError, StateError

_VARIANTS, _MODEL = "variants", "model.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Template:
    """An app in apps/: its own name, and for a variant its model and what it needs in place of the app's."""

    project: str
    model: str = ""
    needs: tuple[str, str] = ("", "")

    def replaced(self, text: str, name: str) -> str:
        """Return a text, or a path, of the template under the name of the new app."""
        text = text.replace(*self.needs) if self.model else text
        old, new = self.project, name
        return text.replace(old, new).replace(old.replace("-", "_"), new.replace("-", "_"))


_SKLEARN: Final = '"scikit-learn==1.9.1"'
_TEMPLATES: Final = {
    "pytorch": _Template(project="my-app"),
    "tensorflow": _Template(
        project="my-stock-app", model="tensorflow", needs=(_SKLEARN, '"keras==3.15.1", "tensorflow==2.21.0"')
    ),
    "sklearn": _Template(project="my-stock-app"),
    "xgboost": _Template(
        project="my-stock-app", model="xgboost", needs=(_SKLEARN, f'{_SKLEARN}, "xgboost-cpu==3.2.0"')
    ),
    "jax": _Template(project="my-stock-app", model="jax", needs=(_SKLEARN, '"jax==0.10.2"')),
}
STARTERS: Final = tuple(_TEMPLATES)
"""The frameworks that `write_app` has an app for."""
_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_LONGEST = 64


def package_name(name: str) -> str:
    """Return the name of an app's Python package.

    Raises
    ------
    SettingsError
        It is not a valid name, or Python would import another module under it.
    """
    package = name.replace("-", "_")
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        reason = "it is not a valid name of a project and a Python package"
    elif keyword.iskeyword(package):
        reason = "it is a Python keyword"
    elif package in sys.stdlib_module_names or _is_installed(package):
        reason = f"Python already has a module {package} and might import that instead"
    else:
        return package
    raise SettingsError(
        f"invalid name {name!r}: {reason}; expected lower-case letters, digits and single - or _, "
        f"a letter first, at most {_LONGEST} characters. Choose another name, for example my-app"
    )


def write_app(name: str, parent: Path, framework: str = "pytorch") -> Path:
    """Write the app into a new folder `parent/name` and return it; a failure leaves no folder.

    Raises
    ------
    SettingsError
        The name is not valid, or there is no app for the framework.
    StateError
        The folder exists already, or cannot be written.
    """
    package_name(name)
    if framework not in _TEMPLATES:
        raise SettingsError(
            f"there is no starter app for the framework {framework!r}: expected one of "
            f"{', '.join(STARTERS)}. Choose one of them with --framework"
        )
    files = _files(_TEMPLATES[framework], name)
    folder = parent / name
    if folder.exists() or folder.is_symlink():
        raise StateError(
            f"{folder} already exists; expected a new folder, because nothing is overwritten. "
            f"Choose another name, or move the folder away"
        )
    unfinished = parent / f".{name}.unfinished"
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        for inside, text in files.items():
            target = unfinished / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        unfinished.rename(folder)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise StateError(
            f"cannot write {folder}: {error.strerror}; expected a writable folder and free disk space. "
            f"Fix that, or change to another folder"
        ) from error
    return folder


def _files(template: _Template, name: str) -> dict[str, str]:
    """Return the text of each file of the new app, by its path; a variant has a model of its own."""
    root = app_folder(template.project)
    if root is None:
        raise StateError("the starter app is missing from this installation: reinstall oneflower")
    found = {}
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        if path.suffix not in {".py", ".toml", ".md"} or not path.is_file() or _VARIANTS in inside.parts:
            continue
        own = template.model and path.name == _MODEL
        source = root / _VARIANTS / f"model_{template.model}.py" if own else path
        text = source.read_text(encoding="utf-8")
        found[template.replaced(str(inside), name)] = template.replaced(text, name)
    return found


def _is_installed(package: str) -> bool:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return False
    # An empty folder is a namespace package without origin: nothing is installed there.
    return spec is not None and spec.origin is not None
