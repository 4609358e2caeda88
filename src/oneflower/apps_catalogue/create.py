"""Write the starter app under a name of the user's own."""

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
    """Return the Python package of an app's name.

    Raises
    ------
    SettingsError
        The name cannot be one, or Python would import something else under it.
    """
    package = name.replace("-", "_")
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        reason = "it is no name of a project and of a Python package"
    elif keyword.iskeyword(package):
        reason = "it is a word of Python's own"
    elif package in sys.stdlib_module_names or _is_installed(package):
        reason = f"Python has a module {package} already, and would import one for the other"
    else:
        return package
    raise SettingsError(
        f"the name {name!r} does not do: {reason}; expected lower-case letters, digits and single - or _, "
        f"a letter first, {_LONGEST} characters at most. Choose another, for example my-app"
    )


def write_app(name: str, parent: Path) -> Path:
    """Write the app into a new folder `parent/name` and return it; after a failure there is no folder.

    Raises
    ------
    SettingsError
        The name cannot be an app's.
    StateError
        The folder exists already, or cannot be written.
    """
    package = package_name(name)
    template = app_folder(PROJECT)
    if template is None:
        raise StateError("this installation of oneflower lacks its starter app: install oneflower anew")
    folder = parent / name
    if folder.exists() or folder.is_symlink():
        raise StateError(
            f"{folder} exists already; expected a name that is free, for nothing is overwritten. "
            f"Choose another name, or move it away"
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
            f"cannot write {folder}: {error.strerror}; expected a folder that can be written and a disk with "
            f"space. Mend that, or change to another folder"
        ) from error
    return folder


def _is_installed(package: str) -> bool:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return False
    # A folder without code in it is no package that anyone has installed.
    return spec is not None and spec.origin is not None
