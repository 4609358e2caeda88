"""What one-apps' stage runner has left: how far the stages came, their logs, and a pipe that stops a boot."""

import time
from collections.abc import Iterator

from oneflower.findings import Finding, ok, problem, warning
from oneflower.opennebula.doctor.host import Host
from oneflower.opennebula.doctor.text import end_of, last_error

STAGES = "stages"
STATUS = "etc/one-appliance/status"
PID = "run/one-appliance-service.pid"
LOGS = "var/log/one-appliance"
PIPE = f"{LOGS}/one_service_log.pipe"
DONE = "bootstrap_success"
# Without a file that names the process, a stage is taken to be at work for so long.
_LONGEST_STAGE_S = 20 * 60.0
_LOG_BYTES = 64 * 1024


def status_of(host: Host) -> str:
    """Return the word that one-apps has written last; empty where there is none."""
    try:
        return host.path(STATUS).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def has_ended_well(host: Host) -> bool:
    """Whether both stages ended well, so that OneGate took what they published."""
    return status_of(host) == DONE


def is_at_work(host: Host) -> bool:
    """Whether a stage runs now."""
    return _is_under_way(status_of(host)) and _is_alive(host)


def stages(host: Host) -> Iterator[Finding]:
    """Say how far the stages came, and why no further."""
    status, at_work = status_of(host), is_at_work(host)
    stage = status.partition("_")[0]
    log = host.path(f"{LOGS}/{stage}.log")
    if status == DONE:
        yield ok(STAGES, "configure and bootstrap have ended well")
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
        said = last_error(end_of(log, _LOG_BYTES))
        text = f"{stage} has failed{f': {said}' if said else ''}"
        yield problem(STAGES, text, f"mend what is named here ({log} has it all), then reboot")
    else:
        yield problem(
            STAGES, f"{stage} was interrupted (one-apps says {status})", "reboot: both stages run again"
        )
    if host.path(PIPE).exists() and not at_work:
        yield problem(
            STAGES,
            f"{host.path(PIPE)} was left by a stage that a power cut interrupted: the next boot fails with "
            "`mknod: File exists`",
            f"rm {host.path(PIPE)}",
        )


def _is_under_way(status: str) -> bool:
    return status.removesuffix("_started") in ("configure", "bootstrap")


def _is_alive(host: Host) -> bool:
    try:
        pid = int(host.path(PID).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return time.time() - host.path(STATUS).stat().st_mtime < _LONGEST_STAGE_S
    return host.path(f"proc/{pid}").exists()
