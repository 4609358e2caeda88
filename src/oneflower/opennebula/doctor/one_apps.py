"""Check what one-apps' stage runner has left: its status, its logs, a pipe that breaks the next boot."""

import time
from collections.abc import Iterator
from pathlib import Path

from oneflower.findings import Finding, ok, problem, warning
from oneflower.opennebula.appliance.again import AGAIN, SUCCESS
from oneflower.opennebula.doctor.host import Host, end_of, last_error

STAGES = "stages"
PID = "run/one-appliance-service.pid"
LOGS = "var/log/one-appliance"
PIPE = f"{LOGS}/one_service_log.pipe"
DONE = SUCCESS.strip()
# The unit that removes the pipe at each boot runs this program.
AFTER_POWER_CUT = "opt/oneflower/after-power-cut"
# Without a pid file a stage counts as running for so long.
_LONGEST_STAGE_S = 20 * 60.0
_LOG_BYTES = 64 * 1024


def status_of(host: Host) -> str:
    """Return one-apps' status; empty if there is none."""
    try:
        return host.layout.status.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def has_succeeded(host: Host) -> bool:
    """Whether both stages have succeeded, so that their values were published."""
    return status_of(host) == DONE


def is_running(host: Host) -> bool:
    """Whether a stage is running, started by one-apps or by the unit that repeats failed stages."""
    if _is_under_way(status_of(host)) and _is_alive(host):
        return True
    return (host.layout.units / AGAIN).is_file() and host.stage.systemd.is_active(AGAIN)


def stages(host: Host) -> Iterator[Finding]:
    """Report the status of the stages, and why they stopped."""
    status, running = status_of(host), is_running(host)
    stage = status.partition("_")[0]
    log = host.path(f"{LOGS}/{stage}.log")
    if status == DONE:
        yield ok(STAGES, "configure and bootstrap have succeeded")
    elif status.endswith("_failure") and _is_scheduled(host):
        text = f"{stage} has failed{_error_in(log)}; {AGAIN} repeats both stages every minute"
        yield problem(STAGES, text, f"fix the problems listed here (`journalctl -u {AGAIN}`) and wait")
    elif running:
        yield warning(STAGES, f"{stage} is running", "wait until it ends; bootstrap may take ten minutes")
    elif not status or stage == "install" or status == "configure_success":
        yield problem(
            STAGES,
            f"{'bootstrap' if stage == 'configure' else 'configure'} did not run (status of "
            f"one-apps: {status or 'none'})",
            "see `journalctl -u 'one-context*'`, then reboot",
        )
    elif status.endswith("_failure"):
        yield problem(
            STAGES,
            f"{stage} has failed{_error_in(log)}",
            f"fix the problems listed here (complete log: {log}), then reboot",
        )
    else:
        yield problem(
            STAGES,
            f"{stage} was interrupted (status of one-apps: {status})",
            "reboot: both stages are repeated",
        )
    if host.path(PIPE).exists() and not running and not host.path(AFTER_POWER_CUT).exists():
        yield problem(
            STAGES,
            f"{host.path(PIPE)} is left from a stage that a power cut interrupted: the next boot will fail "
            "with `mknod: File exists`",
            f"rm {host.path(PIPE)}",
        )


def _error_in(log: Path) -> str:
    error = last_error(end_of(log, _LOG_BYTES))
    return f": {error}" if error else ""


def _is_scheduled(host: Host) -> bool:
    """Whether failed stages will be repeated; between attempts the unit is neither active nor failed."""
    return (host.layout.units / AGAIN).is_file() and not host.stage.systemd.has_failed(AGAIN)


def _is_under_way(status: str) -> bool:
    return status.removesuffix("_started") in ("configure", "bootstrap")


def _is_alive(host: Host) -> bool:
    try:
        pid = int(host.path(PID).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return time.time() - host.layout.status.stat().st_mtime < _LONGEST_STAGE_S
    return host.path(f"proc/{pid}").exists()
