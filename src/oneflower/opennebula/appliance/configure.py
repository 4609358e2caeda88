"""The stage `configure`: check everything, then write everything; start nothing."""

import json
import logging
import os
import shutil
import time

from oneflower.errors import StateError
from oneflower.opennebula.appliance import services
from oneflower.opennebula.appliance.addresses import CONTEXT_ADDRESS, certificate_hosts, own_addresses
from oneflower.opennebula.appliance.certificates import ensure_superlink_certificates
from oneflower.opennebula.appliance.identity import ensure_own_key
from oneflower.opennebula.appliance.images import check_image
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.appliance.partitions import PartitionTable
from oneflower.opennebula.appliance.stage import Stage
from oneflower.opennebula.appliance.systemd import Unit
from oneflower.opennebula.appliance.units import Container, container_unit, has_daemon, report_unit
from oneflower.opennebula.roles import Machine
from oneflower.settings import APP_CONFIG_KEYS, Resolution, Settings, render_context, run_config

log = logging.getLogger(__name__)

REPORT = "flower-report.service"
OPTIONAL = (f"{services.SUPEREXEC_NAME}.service",)


def configure(stage: Stage) -> None:
    """Prepare the machine. With an unchanged context a second call changes nothing.

    Raises
    ------
    SettingsError
        With all problems of the context. They are published, and nothing was written.
    StateError
        A folder cannot be written, for example that of the checkpoints.
    """
    stage.forget_published()
    stage.publish({"FL_STATE": "configuring", "READY": "NO"})
    with stage.reporting_failure():
        resolution = stage.settings()
        for notice in resolution.notices:
            log.log(logging.WARNING if notice.level == "warning" else logging.INFO, "%s", notice.text)
        if resolution.preflight and stage.machine is Machine.SUPERLINK:
            log.info("%s", resolution.preflight)
        settings, layout = resolution.settings, stage.layout
        check_image(stage.machine, settings, stage.commands)
        is_superlink = stage.machine is Machine.SUPERLINK
        layout.make(checkpoints=is_superlink and settings.checkpoint_enabled)
        _make_database_folder(settings, layout)
        if is_superlink and settings.tls_enabled:
            ensure_certificates(stage, settings)
        if not is_superlink:
            _forget_decoded_data(settings, layout)
            stage.publish(ensure_own_key(settings, layout))
        _write_context(stage, resolution)
        if is_superlink:
            _write_run_config(settings, layout)
            write_units(stage, resolution, services.superlink_containers(settings, layout))
            PartitionTable(stage, time.monotonic).update()
    log.info("configured role=%s tls=%s", stage.machine, settings.tls_enabled)


def ensure_certificates(stage: Stage, settings: Settings) -> bool:
    """Install valid certificates on the SuperLink and return whether they changed."""
    addresses = own_addresses(stage.environ, stage.commands)
    hosts = certificate_hosts(settings.fleet_api_address, addresses)
    return ensure_superlink_certificates(settings, stage.layout, hosts, stage.now())


def write_units(stage: Stage, resolution: Resolution, containers: list[Container]) -> list[Unit]:
    """Write env-files and units, remove units that are no longer needed, and return the units to start."""
    for container in containers:
        text = services.environment(container, resolution)
        stage.layout.write(stage.layout.environment(container.name), text)
    daemon = has_daemon(stage.commands)
    units = [_unit(container, stage.layout, daemon=daemon) for container in containers]
    names = {unit.name for unit in units}
    stage.systemd.remove([name for name in OPTIONAL if name not in names])
    stage.systemd.write(units)
    return units


def report_service(stage: Stage) -> Unit:
    """Return the unit that follows the machine and reports to OneGate."""
    return Unit(name=REPORT, text=report_unit(stage.machine), files=(stage.layout.context,))


def _unit(container: Container, layout: Layout, *, daemon: bool) -> Unit:
    files = [layout.environment(container.name)]
    if any(mount.source == str(layout.certs) for mount in container.mounts):
        certificates = layout.certificates
        files += [certificates.ca, certificates.certificate, certificates.key, layout.node_key]
    text = container_unit(container, daemon=daemon)
    return Unit(name=container.unit, text=text, files=tuple(files), needed=not container.expendable)


def _write_run_config(settings: Settings, layout: Layout) -> None:
    """Keep the operator's settings for runs that somebody submits without them.

    With every key that a packed app declares: such a run and its resubmission have the same run-config.
    """
    text = json.dumps({**APP_CONFIG_KEYS, **run_config(settings)}, indent=1) + "\n"
    try:
        is_written = layout.run_config.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        is_written = False
    if not is_written:
        layout.write_readable(layout.run_config, text)


def _make_database_folder(settings: Settings, layout: Layout) -> None:
    """Create the folders of FL_DATABASE, which Flower does not create."""
    folder = (layout.state / settings.database).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while folder != layout.state:
            layout.chown_to_containers(folder)
            folder = folder.parent
    except OSError as error:
        raise StateError(f"cannot create {folder} for FL_DATABASE: {error.strerror}") from None


def _forget_decoded_data(settings: Settings, layout: Layout) -> None:
    """Delete the copy of the data that FL_DATA_CACHE=NO does not allow; not through a link."""
    if settings.data_cache or not os.path.lexists(layout.decoded_data):
        return
    try:
        if layout.decoded_data.is_dir() and not layout.decoded_data.is_symlink():
            shutil.rmtree(layout.decoded_data)
        else:
            layout.decoded_data.unlink()
    except OSError as error:
        raise StateError(f"cannot delete {layout.decoded_data}: {error.strerror}. Remove it") from None


def _write_context(stage: Stage, resolution: Resolution) -> None:
    """Keep what the report service needs: the variables, the machine's addresses, the access to OneGate."""
    given = {
        variable.name: resolution.provenance[variable.name].given or ""
        for variable in stage.machine.variables()
        if not resolution.provenance[variable.name].is_default
    }
    addresses = {name: text for name, text in stage.environ.items() if CONTEXT_ADDRESS.fullmatch(name)}
    stage.layout.write(stage.layout.context, render_context({**given, **addresses, **_access(stage)}))


def _access(stage: Stage) -> dict[str, str]:
    if stage.onegate is None:
        return {}
    access = stage.onegate.access
    return {"ONEGATE_ENDPOINT": access.endpoint, "VMID": access.vm_id, "TOKENTXT": access.token}
