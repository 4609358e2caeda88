"""The stage `bootstrap`: start what `configure` has written, and publish READY when it is healthy."""

import configparser
import io
import logging
from pathlib import Path

from oneflower.errors import OneflowerError, StateError
from oneflower.opennebula.appliance import gpus, services
from oneflower.opennebula.appliance import join as joining
from oneflower.opennebula.appliance.addresses import endpoint, own_addresses
from oneflower.opennebula.appliance.certificates import published_ca
from oneflower.opennebula.appliance.configure import REPORT, report_service, write_units
from oneflower.opennebula.appliance.health import superlink_answers, supernode_is_registered
from oneflower.opennebula.appliance.stage import Stage
from oneflower.opennebula.appliance.systemd import SYSTEMCTL, Unit
from oneflower.opennebula.onegate import OneGateError
from oneflower.opennebula.roles import Machine
from oneflower.settings import Resolution, Settings
from oneflower.tls import write_private

log = logging.getLogger(__name__)

HEALTH_TIMEOUT_S = 180.0
# How long an outage of OneGate, oned or OneFlow may last until the stage fails; it is repeated later.
OUTAGE_S = 600.0


def bootstrap(stage: Stage) -> None:
    """Start the machine's services, wait until they are healthy, and publish READY=YES.

    Raises
    ------
    OneflowerError
        The services are not healthy in time, no SuperLink is found, no GPU can be used although
        FL_GPU_REQUIRED=YES, or OneGate cannot be reached. The reason is published if possible.
    """
    with stage.reporting_failure():
        resolution = stage.settings()
        if stage.onegate is not None:
            # Before a container has a GPU: a reload of systemd's can take it away.
            stage.systemd.write([report_service(stage)])
        if stage.machine is Machine.SUPERLINK:
            values = _start_superlink(stage, resolution)
        elif _is_alone(stage, resolution):
            log.warning(
                "idle: FL_SUPERLINK_ADDRESS is empty, and without TOKEN=YES in the CONTEXT there is no "
                "OneGate to find a SuperLink"
            )
            return
        else:
            values = _start_supernode(stage, resolution)
        _write_report(stage, values, resolution.settings)
        if stage.onegate is not None:
            _publish_ready(stage, values)
    if stage.machine is Machine.SUPERLINK:
        _start_dashboard(stage, resolution)
    log.info("ready role=%s", stage.machine)


def _is_alone(stage: Stage, resolution: Resolution) -> bool:
    """Whether the machine has no way to find a SuperLink, as when somebody tries out the image."""
    return stage.onegate is None and not resolution.settings.superlink_address


def _start_superlink(stage: Stage, resolution: Resolution) -> dict[str, str]:
    settings = resolution.settings
    units = [unit for unit in _superlink_units(stage, resolution) if unit.needed]
    stage.systemd.start(units)
    ca, sockets = stage.layout.certificates.ca, stage.layout.sockets
    for unit in units:
        is_superlink = unit.name == f"{services.SUPERLINK_NAME}.service"
        stage.systemd.wait(
            unit.name,
            (lambda: superlink_answers(settings, ca, sockets)) if is_superlink else (lambda: True),
            "the SuperLink does not respond" if is_superlink else "it does not run",
            HEALTH_TIMEOUT_S,
        )
    return superlink_values(stage, settings)


def _superlink_units(stage: Stage, resolution: Resolution) -> list[Unit]:
    containers = services.superlink_containers(resolution.settings, stage.layout)
    return write_units(stage, resolution, containers)


def _start_dashboard(stage: Stage, resolution: Resolution) -> None:
    """Start the dashboard. The machine is READY without it."""
    try:
        stage.systemd.start([unit for unit in _superlink_units(stage, resolution) if not unit.needed])
    except OneflowerError as error:
        log.warning("dashboard not started reason=%s", error)


def superlink_values(stage: Stage, settings: Settings) -> dict[str, str]:
    """Return what a SuperLink publishes for its SuperNodes: its address and its CA certificate."""
    address = endpoint(settings.fleet_api_address, own_addresses(stage.environ, stage.commands))
    if address is None:
        log.warning("no IPv4 address is known: set FL_SUPERLINK_ADDRESS on the SuperNodes")
    values = {"FL_ENDPOINT": address} if address else {}
    if settings.tls_enabled:
        values["FL_CA_CERT"] = published_ca(settings, stage.layout)
    return values


def _start_supernode(stage: Stage, resolution: Resolution) -> dict[str, str]:
    of_gpus = gpus.look(stage, resolution.settings)
    found = joining.wait_for(stage, resolution)
    units = joining.prepare(stage, resolution, found)
    stage.systemd.start(units)
    name = f"{services.SUPERNODE_NAME}.service"
    stage.systemd.wait(
        name,
        lambda: supernode_is_registered(stage.systemd, name),
        f"the SuperLink at {found.address} has not registered this SuperNode",
        HEALTH_TIMEOUT_S,
    )
    return {**joining.endpoint_values(found), **of_gpus}


def _publish_ready(stage: Stage, values: dict[str, str]) -> None:
    """Publish everything in one call, so that READY never appears without the other values."""
    onegate = stage.onegate
    if onegate is None:
        return
    # An erase rewrites everything that OneGate shows, so it must not follow READY.
    obsolete = ["FL_ERROR", *({"FL_CA_CERT", "FL_ENDPOINT", gpus.KEY} - values.keys())]
    try:
        onegate.erase(obsolete)
    except OneGateError as error:
        # The report service erases them later. Every erase fails while the template has a value, of any
        # origin, that OneGate cannot write back, such as one ending in a backslash (measured on 7.4).
        log.warning("not erased keys=%s reason=%s", ",".join(obsolete), error)
    onegate.publish({**values, "FL_STATE": "waiting", "READY": "YES"}, patience_s=OUTAGE_S)
    stage.record_published({**values, "READY": "YES"})
    # It compares with OneGate when it starts; what it knows may be older than this stage.
    stage.commands.run(SYSTEMCTL, "restart", REPORT)


def _write_report(stage: Stage, values: dict[str, str], settings: Settings) -> None:
    """Write one-apps' report file, which the operator sees on the console."""
    target = stage.environ.get("ONE_SERVICE_REPORT", "")
    if not target:
        return
    report = configparser.ConfigParser(interpolation=None)
    layout = stage.layout
    only_superlink = {
        "checkpoints": str(layout.checkpoints) if settings.checkpoint_enabled else "off",
        "journal": str(layout.journal),
        "dashboard": f"http://{settings.dashboard_address}",
    }
    report[f"oneflower {stage.machine.label}"] = {
        "endpoint": values.get("FL_ENDPOINT", ""),
        **(only_superlink if stage.machine is Machine.SUPERLINK else {}),
        "log": f"journalctl --unit=flower-{stage.machine}",
    }
    text = io.StringIO()
    report.write(text)
    try:
        write_private(Path(target), text.getvalue().encode())
    except OSError as error:
        raise StateError(f"cannot write {target} (ONE_SERVICE_REPORT): {error.strerror}") from None
