"""What one-apps' stage runner has left: how far the stages came, their logs, and a pipe that stops a boot."""

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
# Removes the pipe at each boot, before the stages.
AFTER_POWER_CUT = "opt/oneflower/after-power-cut"
# Without a file that names the process, a stage is taken to be at work for so long.
_LONGEST_STAGE_S = 20 * 60.0
_LOG_BYTES = 64 * 1024


def status_of(host: Host) -> str:
    """Return the word that one-apps has written last; empty where there is none."""
    try:
        return host.layout.status.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def has_ended_well(host: Host) -> bool:
    """Whether both stages ended well, so that OneGate took what they published."""
    return status_of(host) == DONE


def is_at_work(host: Host) -> bool:
    """Whether a stage runs now, started by one-apps or by the unit that runs failed stages again."""
    if _is_under_way(status_of(host)) and _is_alive(host):
        return True
    return (host.layout.units / AGAIN).is_file() and host.stage.systemd.is_active(AGAIN)


def stages(host: Host) -> Iterator[Finding]:
    """Say how far the stages came, and why no further."""
    status, at_work = status_of(host), is_at_work(host)
    stage = status.partition("_")[0]
    log = host.path(f"{LOGS}/{stage}.log")
    if status == DONE:
        yield ok(STAGES, "configure and bootstrap have ended well")
    elif status.endswith("_failure") and _is_scheduled(host):
        text = f"{stage} has failed{_said(log)}; {AGAIN} runs both stages again every minute"
        yield problem(STAGES, text, f"mend what is named here (`journalctl -u {AGAIN}`), and wait")
    elif at_work:
        yield warning(STAGES, f"{stage} is at work", "wait for its end; bootstrap may take ten minutes")
    elif not status or stage == "install" or status == "configure_success":
        yield problem(
            STAGES,
            f"{'bootstrap' if stage == 'configure' else 'configure'} did not run (one-apps says "
            f"{status or 'nothing'})",
            "look at `journalctl -u 'one-context*'`, then reboot",
        )
    elif status.endswith("_failure"):
        yield problem(
            STAGES,
            f"{stage} has failed{_said(log)}",
            f"mend what is named here ({log} has it all), then reboot",
        )
    else:
        yield problem(
            STAGES, f"{stage} was interrupted (one-apps says {status})", "reboot: both stages run again"
        )
    if host.path(PIPE).exists() and not at_work and not host.path(AFTER_POWER_CUT).exists():
        yield problem(
            STAGES,
            f"{host.path(PIPE)} was left by a stage that a power cut interrupted: the next boot fails with "
            "`mknod: File exists`",
            f"rm {host.path(PIPE)}",
        )


def _said(log: Path) -> str:
    said = last_error(end_of(log, _LOG_BYTES))
    return f": {said}" if said else ""


def _is_scheduled(host: Host) -> bool:
    """Whether failed stages are run again; between two tries the unit is not active, and has not failed."""
    return (host.layout.units / AGAIN).is_file() and not host.stage.systemd.has_failed(AGAIN)


def _is_under_way(status: str) -> bool:
    return status.removesuffix("_started") in ("configure", "bootstrap")


def _is_alive(host: Host) -> bool:
    try:
        pid = int(host.path(PID).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return time.time() - host.layout.status.stat().st_mtime < _LONGEST_STAGE_S
    return host.path(f"proc/{pid}").exists()
