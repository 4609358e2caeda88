"""Is there a context, are its settings good, and does it give access to OneGate."""

import os
import re
from collections.abc import Iterator

from oneflower.errors import SettingsError
from oneflower.findings import Finding, ok, problem, warning
from oneflower.opennebula.doctor.host import RUN_AGAIN, Host
from oneflower.opennebula.roles import Machine
from oneflower.settings import TABLE, resolve

CONTEXT, SETTINGS, TOKEN = "context", "settings", "token"

_NUMBERED = re.compile(r"[0-9]+\. ")
_CERTIFICATE = ("FL_SSL_",)
_ADD = 'add TOKEN = "YES" to CONTEXT of the VM template and create a new VM: OpenNebula makes the token then'


def context(host: Host) -> Iterator[Finding]:
    """Say where the context was found, and whether ``configure`` has taken it."""
    if os.geteuid() != 0:
        yield warning(CONTEXT, "not run as root: much of the machine cannot be seen", "run it with sudo")
    found = host.found
    if not found.origin:
        yield problem(
            CONTEXT,
            "no context is on this machine: neither one-context's, nor one that configure has kept",
            "look at `journalctl -u 'one-context*'`; the VM template needs a CONTEXT",
        )
        return
    if not found.kept:
        yield warning(
            CONTEXT,
            f"read from {found.origin}; configure has not ended well with any context yet",
            f"mend what is named below, {RUN_AGAIN}",
        )
        return
    changed = _changed(host)
    if changed:
        yield warning(
            CONTEXT,
            f"{', '.join(changed)} of {found.origin} differ from what configure has kept: what runs is older",
            "run the stages again: reboot",
        )
        return
    yield ok(CONTEXT, f"read from {found.origin}")


def settings(host: Host) -> Iterator[Finding]:
    """Name every problem of the settings and of the operator's certificates."""
    try:
        resolution = host.stage.settings()
    except SettingsError as error:
        for text in _problems(str(error)):
            yield problem(SETTINGS, text, f"correct it in the template or the service, {RUN_AGAIN}")
        return
    host.learned.resolution = resolution
    for notice in resolution.notices:
        if notice.level == "warning":
            yield warning(SETTINGS, notice.text, "set it as it was meant, or remove it")
    chosen = sum(not each.is_default for each in resolution.provenance.values())
    used = resolution.settings
    yield ok(
        SETTINGS,
        f"{chosen} of {len(TABLE)} variables set; FL_USE_CASE {used.use_case}, {used.num_rounds} rounds, "
        f"TLS {'on' if used.tls_enabled else 'off'}",
    )


def token(host: Host) -> Iterator[Finding]:
    """Say whether the machine has what OneGate asks for; whether OneGate takes it is another check."""
    kept, now = host.found.kept.get("TOKENTXT", ""), host.context.get("TOKENTXT", "")
    if host.onegate is None:
        yield _no_access(host)
    elif now and kept and kept != now:
        yield problem(
            TOKEN,
            "the token of this boot is not the one that configure has kept: flower-report uses the old one",
            "run the stages again: reboot",
        )
    else:
        access = host.onegate.access
        yield ok(TOKEN, f"there is one, for VM {access.vm_id} at {access.endpoint}")


def _no_access(host: Host) -> Finding:
    names = ("ONEGATE_ENDPOINT", "VMID")
    missing = [name for name in names if not host.context.get(name)]
    if not missing:
        return problem(TOKEN, "the CONTEXT names OneGate, and there is no token on the machine", _ADD)
    text = f"{' and '.join([*missing, 'the token'])} missing: OneGate cannot be told or asked anything"
    resolution = host.learned.resolution
    if host.machine is Machine.SUPERNODE and resolution and resolution.settings.superlink_address:
        return warning(TOKEN, f"{text}; FL_SUPERLINK_ADDRESS is used", f"if OneFlow waits for READY, {_ADD}")
    return problem(TOKEN, text, _ADD)


def _problems(report: str) -> list[str]:
    """Return the problems of a report without its heading, its warnings and its tables."""
    lines = [
        _NUMBERED.sub("", line, count=1)
        for line in report.splitlines()
        if _NUMBERED.match(line) or line.startswith(_CERTIFICATE)
    ]
    return lines or [report]


def _changed(host: Host) -> list[str]:
    """Return the variables whose value is another now; a variable has two names."""
    try:
        now, kept = (
            resolve(each, role=host.machine.role).provenance for each in (host.context, host.found.kept)
        )
    except SettingsError:
        return []
    names = [variable.name for variable in host.machine.variables()]
    return [name for name in names if now[name].given != kept[name].given]
