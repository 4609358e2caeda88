"""What one `up` shall do, decided and checked before anything is started or written."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from oneflower.apps_catalogue.find import check_installed, find_app
from oneflower.errors import SettingsError
from oneflower.flower.fab import Fab, build_fab
from oneflower.local_cluster.folder import StateFolder
from oneflower.local_cluster.ports import LOOPBACK
from oneflower.local_cluster.tls import check_certificates
from oneflower.sdk.language_models import base_model_folder
from oneflower.settings import BY_NAME, Notice, Resolution, Settings, run_config, strategy_rows
from oneflower.settings.formats import split_address

ADDRESSES = {"fleet_port": "FL_FLEET_API_ADDRESS", "control_port": "FL_CONTROL_API_ADDRESS"}


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


def check_base_model(settings: Settings) -> None:
    """Raise AppError where a pre-built app wants a base model and there is not one."""
    if "base-model" in run_config(settings):
        base_model_folder(Path(settings.base_model))


def check_nodes(settings: Settings, nodes: int | None) -> int:
    """Return how many clients a round waits for; SettingsError when fewer nodes are asked for."""
    minimums = settings.clients_needed
    needed = max(minimums.values())
    if nodes is not None and nodes < needed:
        names = ", ".join(name for name, value in minimums.items() if value == needed)
        parameters = [f", {row.name}={settings.value_of(row)}" for row in strategy_rows(settings.strategy)]
        raise SettingsError(
            f"--nodes {nodes} starts {nodes} clients, but every round waits for {needed} ({names}; "
            f"FL_STRATEGY={settings.strategy}{''.join(parameters)}): it would wait for ever. Give --nodes "
            f"{needed} or more, or lower the variables."
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
    return split_address(str(resolution.settings.value_of(BY_NAME[variable])))[1]


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
