"""The service that follows a machine after its boot, and tells OneGate. No training waits for it."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from oneflower.errors import ClusterError, OneflowerError, SettingsError
from oneflower.journal import TrainingState, follow
from oneflower.opennebula.appliance import gpus, services
from oneflower.opennebula.appliance import join as joining
from oneflower.opennebula.appliance.again import schedule
from oneflower.opennebula.appliance.bootstrap import superlink_values
from oneflower.opennebula.appliance.configure import ensure_certificates, write_units
from oneflower.opennebula.appliance.identity import alarm, own_key_values
from oneflower.opennebula.appliance.partitions import PartitionTable
from oneflower.opennebula.appliance.publisher import Publisher
from oneflower.opennebula.appliance.shown import MOST_ROUNDS, shown
from oneflower.opennebula.appliance.stage import Stage
from oneflower.opennebula.onegate import OneGate, jitter
from oneflower.opennebula.onegate.encoding import MAX_ERROR_CHARACTERS
from oneflower.opennebula.roles import Machine

log = logging.getLogger(__name__)

POLL_S = 1.0
LOOK_EVERY_S = 30.0
RENEW_EVERY_S = 6 * 3600.0
# A container that cannot be started with its GPU is tried every ten seconds.
LOOKS_WITHOUT_NODE = 4


def report(stage: Stage, stop: threading.Event) -> None:
    """Publish until stopped.

    Raises
    ------
    SettingsError
        The machine has no access to OneGate.
    """
    if stage.onegate is None:
        raise SettingsError(
            "there is nothing to report to: ONEGATE_ENDPOINT, VMID and a token are missing; "
            "set TOKEN=YES in the CONTEXT"
        )
    if stage.machine is Machine.SUPERLINK:
        _report_superlink(stage, stage.onegate, stop)
    else:
        _report_supernode(stage, stage.onegate, stop)


def _report_superlink(stage: Stage, onegate: OneGate, stop: threading.Event) -> None:
    publisher = _publisher(onegate)
    next_renewal, trouble = time.monotonic() + RENEW_EVERY_S, ""
    partitions = PartitionTable(stage, time.monotonic, jitter=jitter)
    with following(stage, stop) as snapshot:
        while not stop.wait(POLL_S):
            told, shown_now = partitions.update(), snapshot()
            problems = [trouble, alarm(partitions.pins), shown_now.get("FL_ERROR", "")]
            _hold_up(stage, publisher, {**told, **shown_now, **error_values(problems)})
            if time.monotonic() > next_renewal:
                next_renewal += RENEW_EVERY_S
                trouble = renew(stage)
        _hold_up(stage, publisher, {**snapshot(), **partitions.values})


def _publisher(onegate: OneGate) -> Publisher:
    return Publisher(onegate, time.monotonic, jitter=jitter)


def _hold_up(stage: Stage, publisher: Publisher, values: Mapping[str, str]) -> None:
    """Publish, unless a stage speaks for the machine just now, or has failed and said why."""
    published = stage.published()
    if published:
        publisher.offer({**published, **values})


def renew(stage: Stage) -> str:
    """Renew the SuperLink's certificate before it expires; the training resumes by itself after it.

    Returns
    -------
    str
        Why that failed, for the operator; empty where it did not.
    """
    try:
        resolution = stage.settings()
        if not (resolution.settings.tls_enabled and ensure_certificates(stage, resolution.settings)):
            return ""
        units = write_units(
            stage, resolution, services.superlink_containers(resolution.settings, stage.layout)
        )
        stage.systemd.start([unit for unit in units if unit.needed])
        stage.update_published(superlink_values(stage, resolution.settings))
    except OneflowerError as error:
        log.warning("certificate not renewed reason=%s", error)
        return f"the certificate was not renewed: {error}"[:MAX_ERROR_CHARACTERS]
    return ""


@contextmanager
def following(stage: Stage, stop: threading.Event) -> Iterator[Callable[[], dict[str, str]]]:
    """Read the journal in a thread of its own: a slow OneGate must not hold up the reading."""
    state, lock = TrainingState(most_rounds=MOST_ROUNDS), threading.Lock()

    def read() -> None:
        for entry in follow(stage.layout.journal, stop, poll_s=POLL_S / 2):
            with lock:
                state.take(entry)

    def snapshot() -> dict[str, str]:
        with lock:
            return shown(state)

    thread = threading.Thread(target=read, name="journal", daemon=True)
    thread.start()
    try:
        yield snapshot
    finally:
        stop.set()
        thread.join()


def _report_supernode(stage: Stage, onegate: OneGate, stop: threading.Event) -> None:
    publisher, down = _publisher(onegate), 0
    while not stop.is_set():
        down = look_at_gpus(stage, down)
        _hold_up(stage, publisher, {**look(stage), **joining.partition_values(stage)})
        stop.wait(LOOK_EVERY_S * jitter())


def look_at_gpus(stage: Stage, down: int) -> int:
    """Count the looks in a row at which a SuperNode with a GPU does not run; then have its stages run again.

    They look at the GPUs, which this service may not open: one that has failed since the boot is left out.
    """
    if not gpus.are_given(stage.layout) or stage.systemd.is_active(f"{services.SUPERNODE_NAME}.service"):
        return 0
    if down + 1 < LOOKS_WITHOUT_NODE:
        return down + 1
    log.warning("supernode with a gpu does not run looks=%d", down + 1)
    schedule(stage, ClusterError("the SuperNode does not run; its GPU may have failed"))
    return 0


def look(stage: Stage) -> dict[str, str]:
    """See whether the SuperNode runs, and follow its SuperLink to another address or another CA.

    A SuperLink whose machine was replaced has both. Units are restarted only where that changed.
    """
    values: dict[str, str] = {}
    try:
        resolution = stage.settings()
        values |= own_key_values(resolution.settings, stage.layout)
        found = joining.find(stage, resolution, running=True)
        if found is not None:
            values |= error_values([joining.ca_alarm(stage, resolution.settings, found)])
            touched = stage.systemd.start(joining.prepare(stage, resolution, found))
            if touched:
                stage.update_published({"FL_ENDPOINT": "", **joining.endpoint_values(found)})
                log.info("followed the SuperLink address=%s units=%s", found.address, ",".join(touched))
    except OneflowerError as error:
        log.warning("superlink not looked up reason=%s", error)
    is_active = stage.systemd.is_active(f"{services.SUPERNODE_NAME}.service")
    if "FL_ERROR" in values:
        log.error("superlink not followed reason=%s", values["FL_ERROR"])
    return {**values, "FL_STATE": "waiting" if is_active else "failed"}


def error_values(problems: Iterable[str]) -> dict[str, str]:
    """Return what to publish of problems; nothing if there are none."""
    text = "; ".join(filter(None, problems))[:MAX_ERROR_CHARACTERS]
    return {"FL_ERROR": text} if text else {}
