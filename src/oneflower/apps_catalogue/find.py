"""Find the bundled apps and check that the packages they need are installed."""

import importlib.util
from pathlib import Path

from oneflower.errors import SettingsError
from oneflower.settings import NO_USE_CASE, use_case_of, what_fits


def app_folder(name: str) -> Path | None:
    """Return an app's folder, in the installed package or in the source tree; None if there is none."""
    package = Path(__file__).parents[1]
    for folder in (package / "_apps" / name, package.parents[1] / "apps" / name):
        if folder.is_dir():
            return folder
    return None


def find_app(use_case: str) -> Path:
    """Return the folder of a pre-built app, in the installed package or in the source tree.

    Raises
    ------
    SettingsError
        FL_USE_CASE is none, or the app is missing from this installation.
    """
    if use_case == NO_USE_CASE:
        raise SettingsError(
            "no app was chosen: set FL_USE_CASE in the context (for example image-classification), set "
            "FL_APP to an app of your own on an appliance, or pass the folder of a Flower app with --app"
        )
    folder = app_folder(use_case)
    if folder is not None:
        return folder
    raise SettingsError(
        f"FL_USE_CASE={use_case}: this app is missing from this installation; choose another, "
        "or pass the folder of a Flower app with --app"
    )


def check_installed(use_case: str) -> None:
    """Raise SettingsError if a package that a pre-built app needs is not installed."""
    app = use_case_of(use_case)
    missing = [name for name in app.packages if importlib.util.find_spec(name) is None] if app else []
    if app and missing:
        raise SettingsError(
            f"FL_USE_CASE={use_case} needs {' and '.join(missing)}, not installed on this machine: "
            f"pip install 'oneflower[{app.extras}]', or choose an app that is installed\n{what_fits()}"
        )
