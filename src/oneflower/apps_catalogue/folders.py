"""Where the apps that come with oneflower lie."""

from pathlib import Path


def app_folder(name: str) -> Path | None:
    """Return an app's folder: inside the installed package, or beside the source tree; None without one."""
    package = Path(__file__).parent
    for folder in (package / "_apps" / name, package.parents[1] / "apps" / name):
        if folder.is_dir():
            return folder
    return None
