"""Write a copy of the starter app under the user's own name."""

import importlib.util
import keyword
import re
import shutil
import sys
from pathlib import Path

from oneflower.apps_catalogue.find import app_folder
from oneflower.errors import SettingsError, StateError

PROJECT, PACKAGE = "my-app", "my_app"
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


def write_app(name: str, parent: Path) -> Path:
    """Write the app into a new folder `parent/name` and return it; a failure leaves no folder.

    Raises
    ------
    SettingsError
        The name is not valid.
    StateError
        The folder exists already, or cannot be written.
    """
    package = package_name(name)
    template = app_folder(PROJECT)
    if template is None:
        raise StateError("the starter app is missing from this installation: reinstall oneflower")
    folder = parent / name
    if folder.exists() or folder.is_symlink():
        raise StateError(
            f"{folder} already exists; expected a new folder, because nothing is overwritten. "
            f"Choose another name, or move the folder away"
        )
    unfinished = parent / f".{name}.unfinished"
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        for source in sorted(template.rglob("*")):
            if source.is_file() and source.suffix in {".py", ".toml", ".md"}:
                inside = str(source.relative_to(template)).replace(PACKAGE, package)
                target = unfinished / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                text = source.read_text(encoding="utf-8")
                target.write_text(text.replace(PROJECT, name).replace(PACKAGE, package), encoding="utf-8")
        unfinished.rename(folder)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise StateError(
            f"cannot write {folder}: {error.strerror}; expected a writable folder and free disk space. "
            f"Fix that, or change to another folder"
        ) from error
    return folder


def _is_installed(package: str) -> bool:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return False
    # An empty folder is a namespace package without origin: nothing is installed there.
    return spec is not None and spec.origin is not None
