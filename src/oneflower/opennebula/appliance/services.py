"""The containers of a machine with their arguments, mounts and env-files, computed from the settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from oneflower.flower import arguments
from oneflower.flower.app_gpus import CHOSEN_VARIABLE, ON
from oneflower.flower.app_packages import APPS_VARIABLE, PACKAGES_VARIABLE
from oneflower.flower.arguments import DATA_CACHE_VARIABLE, STATE_VARIABLE
from oneflower.flower.operator_config import RUN_CONFIG_VARIABLE
from oneflower.flower.sockets import SOCKETS
from oneflower.journal import JOURNAL_VARIABLE
from oneflower.node_keys import KEYS_VARIABLE
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.appliance.units import Container, Devices, Mount
from oneflower.opennebula.rendering import env_value
from oneflower.opennebula.roles import Machine
from oneflower.settings import NO_USE_CASE, Consumer, Resolution, Settings, read_by
from oneflower.settings.formats import split_address
from oneflower.tls import Certificates

SERVERAPPIO = "127.0.0.1:9091"
CLIENTAPPIO = "127.0.0.1:9094"
SUPERLINK_NAME = "flower-superlink"
SUPERVISOR_NAME = "flower-supervisor"
SUPERNODE_NAME = "flower-supernode"
SUPEREXEC_NAME = "flower-superexec"
DASHBOARD_NAME = "flower-dashboard"

STATE = Path("/app/state")
CERTS = Path("/app/certs")
DATA = Path("/app/data")
MODELS = Path("/app/models")
APPS = Path("/app/apps")
SERVICE = Path("/app/service")
SOCKET_FOLDER = Path("/app/sockets")
JOURNAL = STATE / "journal.jsonl"
DECODED_DATA = STATE / "decoded-data"
FABS = STATE / "ffs"
"""Where Flower keeps the bundles of submitted runs."""
# A ServerApp inherits these from the SuperLink that starts it.
_SERVER_APP = {
    JOURNAL_VARIABLE: str(JOURNAL),
    "ONEFLOWER_PARTS": str(SERVICE / "parts.json"),
    KEYS_VARIABLE: str(SERVICE / "node-keys.json"),
    RUN_CONFIG_VARIABLE: str(SERVICE / "run-config.json"),
}
_GPU_VISIBLE = "FL_CUDA_VISIBLE_DEVICES"
# `oneflower dashboard` reads its token from this variable.
DASHBOARD_TOKEN = "ONEFLOWER_DASHBOARD_TOKEN"  # noqa: S105 - the name of a variable


def environment(container: Container, resolution: Resolution) -> str:
    """Return the env-file of a container: the operator's variables that it reads, and what Flower needs.

    A change of a variable that it does not read must not restart it. Docker reads each line literally: a
    value with a line break is refused here as in the settings, for it would begin another variable.
    """
    if container.name == DASHBOARD_NAME:
        return _dashboard_environment(resolution.settings)
    machine = container.machine
    consumer = Consumer.SUPERVISOR if container.supervises else machine.consumer
    given = {
        variable.name: resolution.provenance[variable.name].given or ""
        for variable in read_by(consumer)
        if variable in machine.variables() and not resolution.provenance[variable.name].is_default
    }
    own = {
        "FLWR_HOME": str(STATE / "flwr-home"),
        "FLWR_LOG_LEVEL": resolution.settings.log_level,
        "FLWR_TELEMETRY_ENABLED": "0",
        "HOME": str(STATE),
        SOCKETS: str(SOCKET_FOLDER),
        APPS_VARIABLE: str(APPS),
        PACKAGES_VARIABLE: str(STATE / "packages"),
        **(_SERVER_APP if machine is Machine.SUPERLINK else _client_app(resolution.settings)),
    }
    return _lines({**_with_devices(given, container.devices), **own})


def _with_devices(given: Mapping[str, str], devices: Devices | None) -> Mapping[str, str]:
    """Return the variables as they are true inside of a container with these GPUs."""
    if devices is None:
        return given
    if not devices.arguments:  # the app says itself that it trains on processors: FL_GPU_ENABLED stays
        return {name: text for name, text in given.items() if name != _GPU_VISIBLE}
    return {**given, **({_GPU_VISIBLE: devices.visible} if devices.visible else {})}


def _client_app(settings: Settings) -> dict[str, str]:
    kept = {STATE_VARIABLE: str(STATE / "client-state")}
    if settings.gpu_enabled:  # the container has the chosen GPUs alone, with numbers from 0
        kept[CHOSEN_VARIABLE] = ON
    return {**kept, DATA_CACHE_VARIABLE: str(DECODED_DATA)} if settings.data_cache else kept


def _dashboard_environment(settings: Settings) -> str:
    own = {"FLWR_TELEMETRY_ENABLED": "0", "HOME": "/tmp"}  # noqa: S108 - a tmpfs of the container
    token = settings.dashboard_token
    return _lines({**own, **({DASHBOARD_TOKEN: token} if token else {})})


def _lines(variables: Mapping[str, str]) -> str:
    return "".join(f"{name}={env_value(value)}\n" for name, value in sorted(variables.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Host:
    """What the containers of a machine have in common."""

    machine: Machine
    framework: str
    layout: Layout
    mounts: tuple[Mount, ...]

    def container(
        self, name: str, description: str, args: Sequence[str], *, after: str = "", **kind: Any
    ) -> Container:
        return Container(
            name=name,
            description=description,
            machine=self.machine,
            image=self.machine.image_of(self.framework),
            environment=str(self.layout.environment(name)),
            mounts=self.mounts,
            arguments=tuple(args),
            after=f"{after}.service" if after else "",
            **kind,
        )

    def superexec(self, plugin: str, address: str, *, after: str) -> Container:
        args = arguments.superexec(plugin, address)
        return self.container(SUPEREXEC_NAME, f"Flower executor of the {plugin}", args, after=after)


def _host(machine: Machine, settings: Settings, layout: Layout, mounts: tuple[Mount, ...]) -> _Host:
    return _Host(machine=machine, framework=settings.framework, layout=layout, mounts=mounts)


def superlink_containers(settings: Settings, layout: Layout) -> list[Container]:
    """Return the SuperLink, a separate executor if it has one, the supervisor and the dashboard."""
    host = _host(Machine.SUPERLINK, settings, layout, _superlink_mounts(settings, layout))
    places = arguments.SuperLinkPlaces(
        fleet=settings.fleet_api_address,
        control=settings.control_api_address,
        serverappio=SERVERAPPIO,
        database=str(STATE / settings.database),
        storage=str(FABS),
    )
    tls = Certificates.of(CERTS) if settings.tls_enabled else None
    args = arguments.superlink(settings, places, tls)
    containers = [host.container(SUPERLINK_NAME, "Flower SuperLink", args)]
    if settings.isolation == "process":
        containers.append(host.superexec("serverapp", SERVERAPPIO, after=SUPERLINK_NAME))
    supervisor = host.container(
        SUPERVISOR_NAME,
        "oneflower supervisor, which keeps the training alive",
        _supervisor(settings),
        after=SUPERLINK_NAME,
        runs_oneflower=True,
        supervises=True,
    )
    return [*containers, supervisor, _dashboard(settings, layout)]


def _dashboard(settings: Settings, layout: Layout) -> Container:
    """Return the dashboard, which reads journal and checkpoints and gets no secret but its token."""
    mounts = [Mount(source=str(layout.state), target=str(STATE))]
    if settings.checkpoint_enabled:
        mounts.append(Mount(source=str(layout.checkpoints), target=settings.checkpoint_path))
    host, port = split_address(settings.dashboard_address)
    args = ["dashboard", "--journal", str(JOURNAL), "--host", host, "--port", str(port)]
    description = "oneflower live page and metrics of the training"
    return _host(Machine.SUPERLINK, settings, layout, tuple(mounts)).container(
        DASHBOARD_NAME, description, args, runs_oneflower=True, expendable=True
    )


def supernode_containers(
    settings: Settings,
    layout: Layout,
    *,
    superlink: str,
    pairs: Mapping[str, object],
    devices: Devices | None = None,
) -> list[Container]:
    """Return the SuperNode that joins a SuperLink (``host:port``), with its node config and its GPUs."""
    folders = (_state(layout), _sockets(layout), _certs(layout), _data(layout), _apps(layout))
    mounts = (*folders, _models(settings, layout))
    host = _host(Machine.SUPERNODE, settings, layout, mounts)
    args = arguments.supernode(
        settings,
        superlink_address=superlink,
        clientappio=CLIENTAPPIO,
        node_config=arguments.node_config(pairs),
        ca=str(CERTS / "ca.pem") if settings.tls_enabled else None,
        key=str(CERTS / "node.key") if settings.authenticates_nodes else None,
    )
    containers = [host.container(SUPERNODE_NAME, "Flower SuperNode", args)]
    # The launcher runs the executor, unless the operator wants it as a separate service.
    if settings.isolation == "process":
        containers.append(host.superexec("clientapp", CLIENTAPPIO, after=SUPERNODE_NAME))
    return [replace(container, devices=devices) for container in containers]


def _supervisor(settings: Settings) -> list[str]:
    """Return its arguments; without an app it adopts what somebody submits."""
    args = ["supervise"]
    if settings.use_case == NO_USE_CASE and not settings.app:
        args += ["--adopt", str(FABS)]
    if settings.tls_enabled:
        args += ["--root-certificates", str(CERTS / "ca.pem")]
    return args


def _superlink_mounts(settings: Settings, layout: Layout) -> tuple[Mount, ...]:
    service = Mount(source=str(layout.service), target=str(SERVICE))
    folders = (_state(layout), _sockets(layout), _certs(layout), _data(layout), _apps(layout))
    mounts = (*folders, _models(settings, layout), service)
    if not settings.checkpoint_enabled:
        return mounts
    target = settings.checkpoint_path
    return (*mounts, Mount(source=str(layout.checkpoints), target=target, writable=True))


def _state(layout: Layout) -> Mount:
    return Mount(source=str(layout.state), target=str(STATE), writable=True)


def _sockets(layout: Layout) -> Mount:
    return Mount(source=str(layout.sockets), target=str(SOCKET_FOLDER), writable=True)


def _certs(layout: Layout) -> Mount:
    return Mount(source=str(layout.certs), target=str(CERTS))


def _data(layout: Layout) -> Mount:
    return Mount(source=str(layout.data), target=str(DATA))


def _apps(layout: Layout) -> Mount:
    return Mount(source=str(layout.apps), target=str(APPS))


def _models(settings: Settings, layout: Layout) -> Mount:
    """Mount the models at the usual folder, or where FL_BASE_MODEL expects them."""
    asked = Path(settings.base_model)
    usual = any(asked.is_relative_to(place) for place in (MODELS, DATA))
    return Mount(source=str(layout.models), target=str(MODELS if usual else asked))
