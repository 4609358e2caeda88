"""Collect the texts of a bundle; ``bundle.py`` masks them and limits their size."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography import x509

from oneflower.errors import ClusterError, SettingsError
from oneflower.gpu import pci_gpus
from oneflower.gpu.driver import VERSION_FILE
from oneflower.opennebula.appliance import services
from oneflower.opennebula.appliance.addresses import CONTEXT_ADDRESS
from oneflower.opennebula.appliance.again import AGAIN
from oneflower.opennebula.appliance.configure import REPORT
from oneflower.opennebula.appliance.systemd import JOURNALCTL, SYSTEMCTL
from oneflower.opennebula.appliance.units import DOCKER
from oneflower.opennebula.doctor.bundle import MEMBER_BYTES, Member
from oneflower.opennebula.doctor.host import Host, end_of
from oneflower.opennebula.doctor.masking import is_secret
from oneflower.opennebula.doctor.one_apps import LOGS, status_of
from oneflower.settings import TABLE, resolve
from oneflower.settings.variable import MASK
from oneflower.versions import environment

COLLECT_S = 60.0
LONGEST_S = 25.0
LOG_LINES = 1000
UNITS = (
    *(
        f"{name}.service"
        for name in (
            services.SUPERLINK_NAME,
            services.SUPERVISOR_NAME,
            services.SUPERNODE_NAME,
            services.SUPEREXEC_NAME,
            services.DASHBOARD_NAME,
        )
    ),
    REPORT,
    AGAIN,
    "docker.service",
    "one-context.service",
)
NETWORK = (
    ("ip", "address"),
    ("ip", "route"),
    ("ip", "-6", "route"),
    ("ss", "-tlnp"),
    ("cat", "/etc/resolv.conf"),
)
GPU = (
    ("nvidia-smi",),
    ("nvidia-smi", "-q"),
    ("nvidia-ctk", "cdi", "list"),
    (JOURNALCTL, "--dmesg", "--no-pager", "--grep=nvrm|nvidia|nouveau|vfio", "--lines=200"),
)
GPU_S = 8.0
DISKS = (("df", "-h"), ("df", "-i"), ("findmnt", "--real"))
_SHOWN_OF_CONTEXT = ("ONEGATE_ENDPOINT", "VMID", "TOKEN", "REPORT_READY", "NETWORK")


def collect(host: Host, report: str, rows: str, *, budget_s: float = COLLECT_S) -> Iterator[Member]:
    """Yield doctor's output, then the other texts until the time is used up.

    Parameters
    ----------
    report, rows
        Doctor's output as text and as JSON.
    """
    deadline = time.monotonic() + budget_s
    yield "doctor.txt", report
    yield "doctor.json", rows
    for name, make in _makers(host):
        if time.monotonic() > deadline:
            yield f"{name}.left-out", f"the time limit of {budget_s:.0f} s was reached\n"
            continue
        made = _made(make, max(deadline - time.monotonic(), 1.0))
        yield (name, made) if made is not None else (f"{name}.left-out", "not available in time\n")


def _made(make: Callable[[], str], limit_s: float) -> str | None:
    """Collect a text in a thread: a system call on a dead share cannot be aborted, only abandoned."""
    made: list[str] = []
    thread = threading.Thread(target=lambda: made.append(make()), name="bundle", daemon=True)
    thread.start()
    thread.join(min(limit_s, LONGEST_S))
    return made[0] if made else None


def _makers(host: Host) -> Iterator[tuple[str, Callable[[], str]]]:
    layout = host.layout
    yield "settings.txt", lambda: _settings(host)
    yield "versions.txt", lambda: _versions(host)
    yield "onegate.json", lambda: _onegate(host)
    yield "certificates.txt", lambda: _certificates(host)
    yield "journal.jsonl", lambda: end_of(layout.journal, MEMBER_BYTES)
    yield "checkpoints.txt", lambda: _names(layout.checkpoints)
    for stage in ("install", "configure", "bootstrap"):
        log = host.path(f"{LOGS}/{stage}.log")
        yield f"one-apps/{stage}.log", lambda log=log: end_of(log, MEMBER_BYTES)  # type: ignore[misc]
    yield "one-apps/status", lambda: f"{status_of(host)}\n"
    yield "network.txt", lambda: "".join(_output(host, *command) for command in NETWORK)
    yield "folders.txt", lambda: "".join(_output(host, *command) for command in (*DISKS, _list_of(host)))
    if pci_gpus(layout.root):
        yield "gpu.txt", lambda: _gpu(host)
    for unit in UNITS:
        yield f"units/{unit}.txt", lambda unit=unit: _unit(host, unit)  # type: ignore[misc]
    yield "units/one-context.log", lambda: _output(host, *_journal("one-context*"))


def _settings(host: Host) -> str:
    """Return every variable, and what the rest of the context says about the cluster."""
    lines = [f"role {host.machine}; context from {host.found.origin or 'nowhere'}"]
    try:
        provenance = resolve(host.context, role=host.machine.role).provenance
    except SettingsError as error:
        lines.append(str(error))
        provenance = {}
    for variable in TABLE:
        known = provenance.get(variable.name)
        given = known.given if known else host.context.get(variable.name) or host.context.get(variable.alias)
        lines.append(
            f"{variable.name}={variable.masked(given)}" if given else f"{variable.name} has its default"
        )
    rest = host.context.keys() - {name for variable in TABLE for name in (variable.name, variable.alias)}
    for name in sorted(rest):
        is_shown = CONTEXT_ADDRESS.fullmatch(name) or name in _SHOWN_OF_CONTEXT
        if is_shown and not is_secret(name):
            lines.append(f"{name}={host.context[name]}")
    return "\n".join(lines) + "\n"


def _versions(host: Host) -> str:
    found = "".join(f"{name} {version}\n" for name, version in environment().items())
    return found + _output(host, DOCKER, "version") + _output(host, "cat", "/etc/os-release")


def _onegate(host: Host) -> str:
    """Return what this VM has published."""
    values = {
        name: value for name, value in host.user_template.items() if name.startswith("FL_") or name == "READY"
    }
    values = {name: MASK if is_secret(name) else value for name, value in values.items()}
    return json.dumps(values, indent=2, sort_keys=True) + "\n"


def _certificates(host: Host) -> str:
    return "".join(_certificate(path) for path in sorted(host.layout.certs.glob("*.pem")))


def _certificate(path: Path) -> str:
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        return f"{path}: {error}\n"
    return "".join(
        f"{path}: subject {each.subject.rfc4514_string()}, issuer {each.issuer.rfc4514_string()}, "
        f"{each.not_valid_before_utc:%Y-%m-%d %H:%M} to {each.not_valid_after_utc:%Y-%m-%d %H:%M} UTC\n"
        for each in found
    )


def _names(folder: Path) -> str:
    """Return names and sizes without content: models are large and belong to the operator."""
    try:
        entries = sorted(folder.iterdir())
        return "".join(f"{each.lstat().st_size:>14} {each.name}\n" for each in entries)
    except OSError as error:
        return f"{folder}: {error.strerror}\n"


def _gpu(host: Host) -> str:
    """Return what the last boot found, and what the driver says now."""
    files = (host.layout.gpus, host.path(VERSION_FILE))
    kept = "".join(f"{path}:\n{end_of(path, MEMBER_BYTES)}\n" for path in files)
    return kept + "".join(_printed(host, command) for command in GPU)


def _printed(host: Host, command: tuple[str, ...]) -> str:
    try:
        ran = host.programs(command, GPU_S)
    except OSError as error:
        return f"$ {' '.join(command)}\n{error}\n\n"
    ending = "" if ran.code == 0 else f"exit code {ran.code}\n"
    return f"$ {' '.join(command)}\n{ran.said}\n{ending}\n"


def _list_of(host: Host) -> tuple[str, ...]:
    return ("find", str(host.layout.base), "-maxdepth", "2", "-printf", "%M %U:%G %s %p\n")


def _unit(host: Host, unit: str) -> str:
    # `systemctl status` shows less, and fails if the unit does not run.
    status = _output(host, SYSTEMCTL, "show", unit)
    return status + _output(host, SYSTEMCTL, "cat", "--no-pager", unit) + _output(host, *_journal(unit))


def _journal(unit: str) -> tuple[str, ...]:
    words = ("--no-pager", "--output=short-iso", f"--lines={LOG_LINES}")
    return (JOURNALCTL, *words, f"--unit={unit}")


def _output(host: Host, *command: str) -> str:
    try:
        output = host.commands.run(*command)
    except ClusterError as error:
        output = f"{error}\n"
    return f"$ {' '.join(command)}\n{output}\n"
