"""Check that there is a context, that its settings are valid, and that it gives access to OneGate."""

import os
import re
from collections.abc import Iterator

from oneflower.aggregation.compiled import choice, summary
from oneflower.errors import FlowerVersionError, SettingsError
from oneflower.findings import Finding, ok, problem, warning
from oneflower.flower.version import DEPLOYED, require_deployed
from oneflower.opennebula.doctor.host import RUN_AGAIN, Host
from oneflower.opennebula.roles import Machine
from oneflower.settings import PEM_VARIABLES, TABLE, resolve
from oneflower.words import counted

AGGREGATION, CONTEXT, FLOWER = "aggregation", "context", "flower"
SETTINGS, TOKEN = "settings", "token"

_NUMBERED = re.compile(r"[0-9]+\. ")
_ADD = 'add TOKEN = "YES" to CONTEXT of the VM template and create another VM, which then gets a token'


def context(host: Host) -> Iterator[Finding]:
    """Report where the context was found, and whether ``configure`` has used it."""
    if os.geteuid() != 0:
        yield warning(CONTEXT, "not run as root: some checks are not possible", "run it with sudo")
    found = host.found
    if not found.origin:
        yield problem(
            CONTEXT,
            "this machine has no context, neither from one-context nor kept by configure",
            "see `journalctl -u 'one-context*'`; the VM template needs a CONTEXT",
        )
        return
    if not found.kept:
        yield warning(
            CONTEXT,
            f"read from {found.origin}; configure has not succeeded with any context yet",
            f"fix the problems below, {RUN_AGAIN}",
        )
        return
    changed = _changed(host)
    if changed:
        yield warning(
            CONTEXT,
            f"{', '.join(changed)} in {found.origin} differ from the context that configure used",
            "repeat the stages: reboot",
        )
        return
    yield ok(CONTEXT, f"read from {found.origin}")


def flower(_host: Host) -> Iterator[Finding]:
    """Report the Flower that the stages and the supervisor use; the containers have their own."""
    try:
        require_deployed()
    except FlowerVersionError as error:
        yield problem(FLOWER, str(error), f"install it as said, {RUN_AGAIN}")
        return
    yield ok(FLOWER, f"Flower {DEPLOYED}")


def aggregation(_host: Host) -> Iterator[Finding]:
    """Report what this installation aggregates with; the containers are built from the same wheel."""
    used = choice()
    if used.remark:
        yield warning(AGGREGATION, f"NumPy, which is slower: {used.reason}", "build the image again")
        return
    yield ok(AGGREGATION, summary())


def settings(host: Host) -> Iterator[Finding]:
    """Report every problem of the settings and of the operator's certificates."""
    try:
        resolution = host.stage.settings()
    except SettingsError as error:
        for text in _problems(str(error)):
            yield problem(SETTINGS, text, f"correct it in the template or the service, {RUN_AGAIN}")
        return
    host.facts.resolution = resolution
    for notice in resolution.notices:
        if notice.level == "warning":
            yield warning(SETTINGS, notice.text, "correct it, or remove it")
    if resolution.preflight and host.machine is Machine.SUPERLINK:
        yield ok(SETTINGS, resolution.preflight)
    chosen = sum(not each.is_default for each in resolution.provenance.values())
    used = resolution.settings
    yield ok(
        SETTINGS,
        f"{chosen} of {len(TABLE)} variables set; FL_USE_CASE {used.use_case}, "
        f"{counted(used.num_rounds, 'round')}, TLS {'enabled' if used.tls_enabled else 'disabled'}",
    )


def token(host: Host) -> Iterator[Finding]:
    """Check that the machine has a token; whether OneGate accepts it is another check."""
    kept, now = host.found.kept.get("TOKENTXT", ""), host.context.get("TOKENTXT", "")
    if host.onegate is None:
        yield _no_access(host)
    elif now and kept and kept != now:
        yield problem(
            TOKEN,
            "the token of this boot differs from the one that configure used: flower-report uses the old one",
            "repeat the stages: reboot",
        )
    else:
        access = host.onegate.access
        yield ok(TOKEN, f"token of VM {access.vm_id} for {access.endpoint}")


def _no_access(host: Host) -> Finding:
    names = ("ONEGATE_ENDPOINT", "VMID")
    missing = [name for name in names if not host.context.get(name)]
    if not missing:
        return problem(TOKEN, "the CONTEXT names OneGate, but the machine has no token", _ADD)
    text = f"{' and '.join([*missing, 'the token'])} missing: OneGate cannot be used"
    resolution = host.facts.resolution
    if host.machine is Machine.SUPERNODE and resolution and resolution.settings.superlink_address:
        return warning(TOKEN, f"{text}; FL_SUPERLINK_ADDRESS is used", f"if OneFlow waits for READY, {_ADD}")
    return problem(TOKEN, text, _ADD)


def _problems(report: str) -> list[str]:
    """Return the problems of a settings report, without its heading, warnings and tables."""
    lines = [
        _NUMBERED.sub("", line, count=1)
        for line in report.splitlines()
        if _NUMBERED.match(line) or line.startswith(PEM_VARIABLES)
    ]
    return lines or [report]


def _changed(host: Host) -> list[str]:
    """Return the variables whose value has changed, under either of their two names."""
    try:
        now, kept = (
            resolve(each, role=host.machine.role).provenance for each in (host.context, host.found.kept)
        )
    except SettingsError:
        return []
    names = [variable.name for variable in host.machine.variables()]
    return [name for name in names if now[name].given != kept[name].given]
