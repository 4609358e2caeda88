"""What one `up` shall do, decided and checked before anything is started or written."""

import importlib.util
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from oneflower.apps_catalogue.folders import app_folder
from oneflower.errors import SettingsError
from oneflower.flower.fab import Fab, build_fab
from oneflower.language_models import base_model_folder
from oneflower.local_cluster.folder import StateFolder
from oneflower.local_cluster.ports import LOOPBACK
from oneflower.local_cluster.tls import check_certificates
from oneflower.settings import NO_USE_CASE, Notice, Resolution, Settings, run_config, use_case_of, what_fits

ADDRESSES = {"fleet_port": "FL_FLEET_API_ADDRESS", "control_port": "FL_CONTROL_API_ADDRESS"}
CLIENT_MINIMUMS = ("min_available_clients", "min_fit_clients", "min_evaluate_clients")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A checked training on a local cluster.

    ``settings`` hold the paths and switches as they are used here. A port of None means: take a free one.
    """

    settings: Settings
    folder: StateFolder
    nodes: int
    app: Path
    fab: Fab
    tls: bool
    fleet_port: int | None
    control_port: int | None
    notices: tuple[Notice, ...]

    def run_config(self) -> dict[str, Any]:
        """Return the run's configuration, as Flower gets it."""
        return dict(run_config(self.settings))


def make_plan(
    resolution: Resolution, *, state: Path, nodes: int | None = None, app: Path | None = None
) -> Plan:
    """Decide how the settings are carried out on this machine.

    Parameters
    ----------
    nodes : int | None
        SuperNodes to start; None takes the largest minimum of clients that the settings hold.
    app : Path | None
        A folder with a Flower app; None takes the pre-built one of FL_USE_CASE.

    Raises
    ------
    SettingsError
        No app was chosen, what it needs is not installed, or there are fewer nodes than a round waits for.
    AppError
        The folder is no Flower app, or there is no base model where FL_BASE_MODEL looks for one.
    """
    folder = StateFolder(state.absolute())
    if app is None:
        app = find_app(resolution.settings.use_case)
        check_installed(resolution.settings.use_case)
        check_base_model(resolution.settings)
    needed = check_nodes(resolution.settings, nodes)
    tls = resolution.settings.tls_enabled and not resolution.provenance["FL_TLS_ENABLED"].is_default
    if tls and certificates_given(resolution.settings):
        check_certificates(resolution.settings, [LOOPBACK])
    return Plan(
        settings=_settings_here(resolution, folder),
        folder=folder,
        nodes=nodes or needed,
        app=app,
        fab=build_fab(app),
        tls=tls,
        fleet_port=_port(resolution, ADDRESSES["fleet_port"]),
        control_port=_port(resolution, ADDRESSES["control_port"]),
        notices=(*resolution.notices, *_notices(resolution)),
    )


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


def check_base_model(settings: Settings) -> None:
    """Raise AppError where a pre-built app wants a base model and there is not one."""
    if "base-model" in run_config(settings):
        base_model_folder(Path(settings.base_model))


def check_nodes(settings: Settings, nodes: int | None) -> int:
    """Return how many clients a round waits for; SettingsError when fewer nodes are asked for."""
    minimums = {f"FL_{field.upper()}": int(getattr(settings, field)) for field in CLIENT_MINIMUMS}
    needed = max(minimums.values())
    if nodes is not None and nodes < needed:
        names = ", ".join(name for name, value in minimums.items() if value == needed)
        raise SettingsError(
            f"--nodes {nodes} starts {nodes} clients, but every round waits for {needed} ({names}, "
            f"with what FL_STRATEGY={settings.strategy} and FL_NUM_MALICIOUS={settings.num_malicious} need): "
            f"it would wait for ever. Say --nodes {needed} or more, or lower what asks for them."
        )
    return needed


def certificates_given(settings: Settings) -> bool:
    """Whether the operator brought the SuperLink's own certificates."""
    return bool(settings.ssl_ca_certfile and settings.ssl_certfile and settings.ssl_keyfile)


def _settings_here(resolution: Resolution, folder: StateFolder) -> Settings:
    """Put the checkpoints into the state folder unless the operator named a place."""
    if not resolution.provenance["FL_CHECKPOINT_PATH"].is_default:
        return resolution.settings
    return replace(resolution.settings, checkpoint_path=str(folder.checkpoints))


def _port(resolution: Resolution, variable: str) -> int | None:
    """Return the port that the operator asked for; the host is always loopback here."""
    if resolution.provenance[variable].is_default:
        return None
    address = str(getattr(resolution.settings, variable.removeprefix("FL_").lower()))
    return int(re.split(":", address)[-1])


def _notices(resolution: Resolution) -> list[Notice]:
    notices = []
    for variable in ADDRESSES.values():
        address = resolution.provenance[variable].given
        if address and not address.startswith((f"{LOOPBACK}:", "localhost:")):
            text = f"{variable}={address}: `oneflower up` listens on {LOOPBACK} only, with that port"
            notices.append(Notice(level="info", text=text))
    if not resolution.settings.checkpoint_enabled:
        text = "checkpoints are off: after a crash the training starts from round 1"
        notices.append(Notice(level="warning", text=f"{text}; FL_CHECKPOINT_ENABLED=YES turns them on"))
    return notices
