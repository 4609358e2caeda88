"""The plan of one `up`, made and checked before anything is started or written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from oneflower.apps_catalogue.find import check_installed, find_app
from oneflower.errors import SettingsError
from oneflower.flower.fab import Fab, build_fab
from oneflower.language_models import base_model_folder
from oneflower.local_cluster.folder import StateFolder, absolute
from oneflower.local_cluster.notices import notices_of_up
from oneflower.local_cluster.ports import LOOPBACK
from oneflower.local_cluster.tls import check_certificates
from oneflower.settings import (
    BY_NAME,
    Notice,
    Resolution,
    Settings,
    Value,
    app_values,
    keys_of_texts,
    require_sample,
    run_config,
    strategy_rows,
    with_the_authors,
)
from oneflower.settings.formats import is_loopback, split_address
from oneflower.words import counted

ADDRESSES = {"fleet_port": "FL_FLEET_API_ADDRESS", "control_port": "FL_CONTROL_API_ADDRESS"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardPlace:
    """Where `up` serves its dashboard: on loopback, as FL_DASHBOARD_ADDRESS and FL_DASHBOARD_TOKEN say.

    An empty token stands for one that is drawn. ``given`` names the variables that the operator set.
    """

    host: str = LOOPBACK
    port: int = 0
    token: str = field(default="", repr=False)
    given: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A checked training on a local cluster.

    ``settings`` hold the paths and switches as used here. A port of None means a free one.
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
    dashboard: DashboardPlace
    app_values: Mapping[str, Value] = field(default_factory=dict)

    def run_config(self) -> dict[str, Any]:
        """Return the run's configuration under plain names; `submitted` makes what the app gets of it."""
        return {**run_config(self.settings), **self.app_values}


def make_plan(  # noqa: PLR0913 - what the command line says
    resolution: Resolution,
    *,
    state: Path,
    nodes: int | None = None,
    app: Path | None = None,
    options: Sequence[str] = (),
    counted_by: str = "--nodes",
) -> Plan:
    """Plan a training on this machine.

    Parameters
    ----------
    nodes : int | None
        SuperNodes to start; None takes the number of clients that a round needs.
    app : Path | None
        A folder with a Flower app; None takes the pre-built one of FL_USE_CASE.
    options : sequence of str
        What `--run-config` sets of the app's own keys; it holds before FL_APP_CONFIG.
    counted_by : str
        The option of the command that gives `nodes`.

    Raises
    ------
    SettingsError
        A value for a key of the app's own is wrong.
        No app was chosen, a package that it needs is missing, or there are fewer nodes than a round needs.
    AppError
        The folder is not a Flower app, or there is no base model at FL_BASE_MODEL.
    """
    folder = StateFolder(absolute(state))
    if app is None:
        app = find_app(resolution.settings.use_case)
        check_installed(resolution.settings.use_case)
        check_base_model(resolution.settings)
    fab = build_fab(app)
    values = app_values(keys_of_texts(resolution.settings.app_config, options), fab.own)
    resolution = replace(resolution, settings=with_the_authors(resolution.settings, fab.own))
    require_sample(resolution.settings)
    needed = check_nodes(resolution.settings, nodes, counted_by)
    resolution = replace(resolution, settings=_drawn_from_all(resolution.settings, nodes or needed))
    tls = _needs_tls(resolution)
    if tls and certificates_given(resolution.settings):
        check_certificates(resolution.settings, [LOOPBACK])
    return Plan(
        settings=_settings_here(resolution, folder),
        folder=folder,
        nodes=nodes or needed,
        app=app,
        fab=fab,
        tls=tls,
        fleet_port=_port(resolution, ADDRESSES["fleet_port"]),
        control_port=_port(resolution, ADDRESSES["control_port"]),
        notices=(*resolution.notices, *notices_of_up(resolution)),
        dashboard=_dashboard(resolution),
        app_values=values,
    )


def check_base_model(settings: Settings) -> None:
    """Raise AppError if a pre-built app needs a base model and there is none."""
    if "base-model" in run_config(settings):
        base_model_folder(Path(settings.base_model))


def check_nodes(settings: Settings, nodes: int | None, counted_by: str = "--nodes") -> int:
    """Return how many clients a round needs; SettingsError if fewer nodes are requested."""
    minimums = settings.clients_needed
    needed = max(minimums.values())
    if nodes is not None and nodes < needed:
        names = ", ".join(name for name, value in minimums.items() if value == needed)
        parameters = [f", {row.name}={settings.value_of(row)}" for row in strategy_rows(settings.strategy)]
        raise SettingsError(
            f"{counted_by} {nodes} starts {counted(nodes, 'client')}, but every round waits for {needed} "
            f"({names}; FL_STRATEGY={settings.strategy}{''.join(parameters)}): it would wait for ever. Give "
            f"{counted_by} {needed} or more, or lower the variables."
        )
    return needed


def _drawn_from_all(settings: Settings, nodes: int) -> Settings:
    """Have a round that draws its clients wait for all of them, unless the operator says for how many.

    All of them are started here. After a crash a draw from those that are back first would be another one.
    """
    name = "FL_MIN_AVAILABLE_CLIENTS"
    draws = settings.clients_per_round or settings.evaluate_clients_per_round
    if not draws or settings.is_set(name):
        return settings
    return replace(settings, min_available_clients=nodes, operator_set=settings.operator_set | {name})


def certificates_given(settings: Settings) -> bool:
    """Return whether the operator gave the SuperLink's certificates."""
    return bool(settings.ssl_ca_certfile and settings.ssl_certfile and settings.ssl_keyfile)


def _needs_tls(resolution: Resolution) -> bool:
    """Whether the cluster speaks TLS: if the operator wants it, and where SuperNodes have keys."""
    settings = resolution.settings
    is_wanted = not resolution.provenance["FL_TLS_ENABLED"].is_default
    return settings.tls_enabled and (is_wanted or settings.node_auth)


def _settings_here(resolution: Resolution, folder: StateFolder) -> Settings:
    """Put the checkpoints into the state folder unless the operator set a path."""
    if not resolution.provenance["FL_CHECKPOINT_PATH"].is_default:
        return resolution.settings
    return replace(resolution.settings, checkpoint_path=str(folder.checkpoints))


def _port(resolution: Resolution, variable: str) -> int | None:
    """Return the port that the operator set; the host is always loopback here."""
    if resolution.provenance[variable].is_default:
        return None
    return split_address(str(resolution.settings.value_of(BY_NAME[variable])))[1]


def _dashboard(resolution: Resolution) -> DashboardPlace:
    """Return where the dashboard is served; like every other address of `up`, on this machine only."""
    host, port = split_address(resolution.settings.dashboard_address)
    names = ("FL_DASHBOARD_ADDRESS", "FL_DASHBOARD_TOKEN")
    return DashboardPlace(
        host=host if is_loopback(host) else LOOPBACK,
        port=port,
        token=resolution.settings.dashboard_token,
        given=tuple(name for name in names if not resolution.provenance[name].is_default),
    )
