"""Which containers a machine runs, and what each is told: pure, from the settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from oneflower.flower import arguments
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.appliance.units import Container, Mount
from oneflower.opennebula.roles import Machine
from oneflower.settings import NO_USE_CASE, Resolution, Settings
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
SERVICE = Path("/app/service")
JOURNAL = STATE / "journal.jsonl"
# What a ServerApp finds through the environment of the SuperLink that starts it.
_SERVER_APP = {"ONEFLOWER_JOURNAL": str(JOURNAL), "ONEFLOWER_PARTS": str(SERVICE / "parts.json")}
# What `oneflower dashboard` reads its token from.
DASHBOARD_TOKEN = "ONEFLOWER_DASHBOARD_TOKEN"  # noqa: S105 - the name of a variable

# They hold PEM, which the containers find as files.
_FILES = frozenset({"FL_SSL_CA_CERTFILE", "FL_SSL_CERTFILE", "FL_SSL_KEYFILE"})
# The variables that Flower's programs and their launcher read; the supervisor reads all.
_PROCESSES = ("FL_FLOWER_SPEEDUPS", "FL_FLOWER_WORKAROUNDS", "FL_LOG_LEVEL", "FL_WARM_EXECUTOR")


def environment(container: Container, resolution: Resolution) -> str:
    """Return the env-file of a container: what it reads of what the operator has set, and what Flower needs.

    Docker takes each line as it is, and the settings have refused control characters: no value can end
    its line or begin another.
    """
    given = {
        variable.name: resolution.provenance[variable.name].given or ""
        for variable in container.machine.variables()
        if not resolution.provenance[variable.name].is_default and variable.name not in _FILES
    }
    if container.name == DASHBOARD_NAME:
        return _dashboard_environment(resolution.settings)
    if container.name != SUPERVISOR_NAME:
        # A variable that they do not read must not restart them.
        given = {name: given[name] for name in _PROCESSES if name in given}
    own = {
        "FLWR_HOME": str(STATE / "flwr-home"),
        "FLWR_LOG_LEVEL": resolution.settings.log_level,
        "FLWR_TELEMETRY_ENABLED": "0",
        "HOME": str(STATE),
        **(_SERVER_APP if container.machine is Machine.SUPERLINK else {}),
    }
    return _lines({**given, **own})


def _dashboard_environment(settings: Settings) -> str:
    own = {"FLWR_TELEMETRY_ENABLED": "0", "HOME": "/tmp"}  # noqa: S108 - a tmpfs of the container
    token = settings.dashboard_token
    return _lines({**own, **({DASHBOARD_TOKEN: token} if token else {})})


def _lines(variables: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in sorted(variables.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Host:
    """What all containers of a machine have in common."""

    machine: Machine
    layout: Layout
    mounts: tuple[Mount, ...]

    def container(
        self, name: str, description: str, told: Sequence[str], *, after: str = "", **kind: bool
    ) -> Container:
        return Container(
            name=name,
            description=description,
            machine=self.machine,
            environment=str(self.layout.environment(name)),
            mounts=self.mounts,
            arguments=tuple(told),
            after=f"{after}.service" if after else "",
            **kind,
        )

    def superexec(self, plugin: str, address: str, *, after: str) -> Container:
        told = arguments.superexec(plugin, address)
        return self.container(SUPEREXEC_NAME, f"Flower executor of the {plugin}", told, after=after)


def superlink_containers(settings: Settings, layout: Layout) -> list[Container]:
    """Return the SuperLink, its executor where it is a service of its own, the supervisor, and the page."""
    host = _Host(machine=Machine.SUPERLINK, layout=layout, mounts=_superlink_mounts(settings, layout))
    places = arguments.SuperLinkPlaces(
        fleet=settings.fleet_api_address,
        control=settings.control_api_address,
        serverappio=SERVERAPPIO,
        database=str(STATE / settings.database),
        storage=str(STATE / "ffs"),
    )
    tls = Certificates.of(CERTS) if settings.tls_enabled else None
    told = arguments.superlink(settings, places, tls)
    containers = [host.container(SUPERLINK_NAME, "Flower SuperLink", told)]
    if settings.isolation == "process":
        containers.append(host.superexec("serverapp", SERVERAPPIO, after=SUPERLINK_NAME))
    if settings.use_case != NO_USE_CASE:
        description = "oneflower supervisor, which keeps the training alive"
        told = _supervisor(settings)
        containers.append(
            host.container(
                SUPERVISOR_NAME,
                description,
                told,
                after=SUPERLINK_NAME,
                runs_oneflower=True,
                supervises=True,
            )
        )
    return [*containers, _dashboard(settings, layout)]


def _dashboard(settings: Settings, layout: Layout) -> Container:
    """Return the live page: it reads the journal and the checkpoints, writes nothing, and gets no secret."""
    mounts = [Mount(source=str(layout.state), target=str(STATE))]
    if settings.checkpoint_enabled:
        mounts.append(Mount(source=str(layout.checkpoints), target=settings.checkpoint_path))
    host, port = split_address(settings.dashboard_address)
    told = ["dashboard", "--journal", str(JOURNAL), "--host", host, "--port", str(port)]
    description = "oneflower live page and metrics of the training"
    return _Host(machine=Machine.SUPERLINK, layout=layout, mounts=tuple(mounts)).container(
        DASHBOARD_NAME, description, told, runs_oneflower=True, expendable=True
    )


def supernode_containers(
    settings: Settings, layout: Layout, *, superlink: str, pairs: Mapping[str, object]
) -> list[Container]:
    """Return the SuperNode that joins a SuperLink (``host:port``) with its part of the data."""
    mounts = (_state(layout), _certs(layout), _data(layout), _models(settings, layout))
    host = _Host(machine=Machine.SUPERNODE, layout=layout, mounts=mounts)
    told = arguments.supernode(
        settings,
        superlink_address=superlink,
        clientappio=CLIENTAPPIO,
        node_config=arguments.node_config(pairs),
        ca=str(CERTS / "ca.pem") if settings.tls_enabled else None,
    )
    containers = [host.container(SUPERNODE_NAME, "Flower SuperNode", told)]
    # The launcher runs an executor of its own, unless the operator wants one beside it.
    if settings.isolation == "process":
        containers.append(host.superexec("clientapp", CLIENTAPPIO, after=SUPERNODE_NAME))
    return containers


def _supervisor(settings: Settings) -> list[str]:
    told = ["supervise"]
    if settings.tls_enabled:
        told += ["--root-certificates", str(CERTS / "ca.pem")]
    return told


def _superlink_mounts(settings: Settings, layout: Layout) -> tuple[Mount, ...]:
    service = Mount(source=str(layout.service), target=str(SERVICE))
    mounts = (_state(layout), _certs(layout), _data(layout), _models(settings, layout), service)
    if not settings.checkpoint_enabled:
        return mounts
    target = settings.checkpoint_path
    return (*mounts, Mount(source=str(layout.checkpoints), target=target, writable=True))


def _state(layout: Layout) -> Mount:
    return Mount(source=str(layout.state), target=str(STATE), writable=True)


def _certs(layout: Layout) -> Mount:
    return Mount(source=str(layout.certs), target=str(CERTS))


def _data(layout: Layout) -> Mount:
    return Mount(source=str(layout.data), target=str(DATA))


def _models(settings: Settings, layout: Layout) -> Mount:
    """Mount the models where FL_BASE_MODEL looks: at the usual place, unless it names one elsewhere."""
    asked = Path(settings.base_model)
    usual = any(asked.is_relative_to(place) for place in (MODELS, DATA))
    return Mount(source=str(layout.models), target=str(MODELS if usual else asked))
