"""Which app `oneflower supervise` submits."""

import logging
import os
from pathlib import Path

from oneflower.apps_catalogue.find import find_app
from oneflower.errors import OneflowerError, SettingsError
from oneflower.flower.app_packages import APPS_VARIABLE, prepare_packages, use_packages
from oneflower.flower.fab import Fab, build_fab, dependencies_of
from oneflower.journal import Journal, Owner, read_patiently
from oneflower.journal.events import AppUnusable
from oneflower.kinds import kind_of
from oneflower.procfs import this_process
from oneflower.settings import NO_USE_CASE, Settings
from oneflower.settings.formats import APPS_FOLDER
from oneflower.supervisor.own_app import own_app
from oneflower.supervisor.requirements import other_flower, require_packages

log = logging.getLogger("oneflower.supervise")


def require_no_app(settings: Settings, app: Path | None) -> None:
    """Raise SettingsError where an app is chosen, so that there is none to adopt."""
    chosen = [
        f"--app {app}" if app else "",
        f"FL_APP={settings.app}" if settings.app else "",
        f"FL_USE_CASE={settings.use_case}" if settings.use_case != NO_USE_CASE else "",
    ]
    if any(chosen):
        raise SettingsError(
            f"--adopt with {' and '.join(filter(None, chosen))}: expected one of them; leave --adopt out to "
            "submit the app, or remove the app to adopt what somebody submits"
        )


def app_to_submit(settings: Settings, app: Path | None, folder: Path, journal: Path) -> Fab:
    """Return the app of ``--app``, FL_APP or FL_USE_CASE, with all packages that it asks for.

    Where FL_APP cannot be used, the journal says why, once, and the error is raised.
    """
    if app is not None or not settings.app:
        return build_fab(app or find_app(settings.use_case))
    try:
        apps = Path(os.environ.get(APPS_VARIABLE) or APPS_FOLDER)
        fab = own_app(settings.app, apps=apps, kept=folder / "apps")
        prepare_packages(os.environ)
        use_packages(os.environ)
        require_packages(fab)
    except OneflowerError as error:
        _tell_unusable(settings.app, error, journal)
        raise
    if other := other_flower(dependencies_of(fab)):
        log.warning("the app asks for flwr%s; the cluster runs Flower %s", other, settings.flower_version)
    return fab


def _tell_unusable(app: str, error: OneflowerError, journal: Path) -> None:
    unusable = AppUnusable(app=app, kind=kind_of(error), reason=str(error))
    last = [entry.event for entry in read_patiently(journal)][-1:]
    if last != [unusable]:  # a service manager starts the supervisor again and again
        Journal(journal, owner=Owner(process=this_process())).append(unusable)
