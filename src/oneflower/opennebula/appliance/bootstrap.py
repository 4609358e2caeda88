"""The stage `bootstrap`: start what `configure` has written, and say READY only when it is true."""

import configparser
import io
import logging
from pathlib import Path

from oneflower.errors import OneflowerError, StateError
from oneflower.opennebula.appliance import join as joining
from oneflower.opennebula.appliance import services
from oneflower.opennebula.appliance.addresses import endpoint, own_addresses
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
# How long an outage of OneGate, oned or OneFlow may last until a stage fails, to be run again later.
OUTAGE_S = 600.0


def bootstrap(stage: Stage) -> None:
    """Start the machine's services and wait until they are healthy; then publish READY=YES.

    Raises
    ------
    OneflowerError
        They are not healthy in time, no SuperLink is found, or OneGate cannot be told; the reason is
        published where that is possible.
    """
    with stage.telling():
        resolution = stage.settings()
        if stage.machine is Machine.SUPERLINK:
            told = _start_superlink(stage, resolution)
        elif _is_alone(stage, resolution):
            log.warning(
                "idle: FL_SUPERLINK_ADDRESS is empty, and without TOKEN=YES in the CONTEXT there is no "
                "OneGate to find a SuperLink"
            )
            return
        else:
            told = _start_supernode(stage, resolution)
        _write_report(stage, told, resolution.settings)
        if stage.onegate is not None:
            _tell(stage, told)
    if stage.machine is Machine.SUPERLINK:
        _start_page(stage, resolution)
    log.info("ready role=%s", stage.machine)


def _is_alone(stage: Stage, resolution: Resolution) -> bool:
    """Whether nobody can say where a SuperLink is: an image that is only being tried out."""
    return stage.onegate is None and not resolution.settings.superlink_address


def _start_superlink(stage: Stage, resolution: Resolution) -> dict[str, str]:
    settings = resolution.settings
    units = [unit for unit in _superlink_units(stage, resolution) if unit.needed]
    stage.systemd.start(units)
    ca = stage.layout.certificates.ca
    for unit in units:
        is_superlink = unit.name == f"{services.SUPERLINK_NAME}.service"
        stage.systemd.wait(
            unit.name,
            (lambda: superlink_answers(settings, ca)) if is_superlink else (lambda: True),
            "the SuperLink does not answer" if is_superlink else "it does not run",
            HEALTH_TIMEOUT_S,
        )
    return superlink_told(stage, settings)


def _superlink_units(stage: Stage, resolution: Resolution) -> list[Unit]:
    containers = services.superlink_containers(resolution.settings, stage.layout)
    return write_units(stage, resolution, containers)


def _start_page(stage: Stage, resolution: Resolution) -> None:
    """Start what only looks on; the machine is READY already, and stays so without it."""
    try:
        stage.systemd.start([unit for unit in _superlink_units(stage, resolution) if not unit.needed])
    except OneflowerError as error:
        log.warning("the live page was not started reason=%s", error)


def superlink_told(stage: Stage, settings: Settings) -> dict[str, str]:
    """Return what SuperNodes need to know."""
    address = endpoint(settings.fleet_api_address, own_addresses(stage.environ, stage.commands))
    if address is None:
        log.warning("no IPv4 address is known: set FL_SUPERLINK_ADDRESS on the SuperNodes")
    told = {"FL_ENDPOINT": address} if address else {}
    if settings.tls_enabled:
        told["FL_CA_CERT"] = stage.layout.certificates.ca.read_text(encoding="ascii")
    return told


def _start_supernode(stage: Stage, resolution: Resolution) -> dict[str, str]:
    found = joining.wait_for(stage, resolution)
    units = joining.prepare(stage, resolution, found)
    stage.systemd.start(units)
    name = f"{services.SUPERNODE_NAME}.service"
    stage.systemd.wait(
        name,
        lambda: supernode_is_registered(stage.systemd, name),
        f"the SuperLink at {found.address} has not taken this SuperNode",
        HEALTH_TIMEOUT_S,
    )
    return joining.told(found)


def _tell(stage: Stage, told: dict[str, str]) -> None:
    """Publish everything in one call, so that READY never stands there without the rest."""
    onegate = stage.onegate
    if onegate is None:
        return
    # An erase rewrites everything that OneGate shows: nothing of it may come after READY.
    gone = ["FL_ERROR", *({"FL_CA_CERT", "FL_ENDPOINT"} - told.keys())]
    try:
        onegate.erase(gone)
    except OneGateError as error:
        # The report erases them later. A value of another's that OneGate cannot write back, such as one that
        # ends in a backslash, makes every erase fail (measured on 7.4).
        log.warning("not erased keys=%s reason=%s", ",".join(gone), error)
    onegate.publish({**told, "FL_STATE": "waiting", "READY": "YES"}, patience_s=OUTAGE_S)
    stage.stand_by({**told, "READY": "YES"})
    stage.systemd.write([report_service(stage)])
    # It reads what OneGate shows when it starts; what it knows may be older than this stage.
    stage.commands.run(SYSTEMCTL, "restart", REPORT)


def _write_report(stage: Stage, told: dict[str, str], settings: Settings) -> None:
    """Write one-apps' report file, which the console and `cat` show to the operator."""
    target = stage.environ.get("ONE_SERVICE_REPORT", "")
    if not target:
        return
    report = configparser.ConfigParser(interpolation=None)
    layout = stage.layout
    only_superlink = {
        "checkpoints": str(layout.checkpoints) if settings.checkpoint_enabled else "off",
        "journal": str(layout.journal),
        "page": f"http://{settings.dashboard_address}",
    }
    report[f"oneflower {stage.machine.label}"] = {
        "endpoint": told.get("FL_ENDPOINT", ""),
        **(only_superlink if stage.machine is Machine.SUPERLINK else {}),
        "log": f"journalctl --unit=flower-{stage.machine}",
    }
    text = io.StringIO()
    report.write(text)
    try:
        write_private(Path(target), text.getvalue().encode())
    except OSError as error:
        raise StateError(f"cannot write {target} (ONE_SERVICE_REPORT): {error.strerror}") from None
