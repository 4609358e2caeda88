"""Find the apps that come with oneflower, and what they need."""

import importlib.util
from pathlib import Path

from oneflower.errors import SettingsError
from oneflower.settings import NO_USE_CASE, use_case_of, what_fits


def app_folder(name: str) -> Path | None:
    """Return an app's folder: inside the installed package, or beside the source tree; None without one."""
    package = Path(__file__).parents[1]
    for folder in (package / "_apps" / name, package.parents[1] / "apps" / name):
        if folder.is_dir():
            return folder
    return None


def find_app(use_case: str) -> Path:
    """Return the folder of a pre-built app: inside the installed package, or beside the source tree.

    Raises
    ------
    SettingsError
        FL_USE_CASE is none, or this installation does not hold the app.
    """
    if use_case == NO_USE_CASE:
        raise SettingsError(
            "no app was chosen: set FL_USE_CASE in the context (for example image-classification), "
            "or give the folder of a Flower app with --app"
        )
    folder = app_folder(use_case)
    if folder is not None:
        return folder
    raise SettingsError(
        f"FL_USE_CASE={use_case}: this installation does not hold that app; choose another, "
        "or give the folder of a Flower app with --app"
    )


def check_installed(use_case: str) -> None:
    """Raise SettingsError where a package that a pre-built app needs is not installed here."""
    app = use_case_of(use_case)
    missing = [name for name in app.packages if importlib.util.find_spec(name) is None] if app else []
    if app and missing:
        raise SettingsError(
            f"FL_USE_CASE={use_case} needs {' and '.join(missing)}, which this machine does not have: "
            f"pip install 'oneflower[{app.extras}]', or choose what fits what is installed\n{what_fits()}"
        )
