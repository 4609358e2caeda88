"""Run all checks in order, each with a time limit; a failed check does not stop the others."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from oneflower.errors import OneflowerError
from oneflower.findings import Finding, problem, skipped
from oneflower.opennebula.doctor import (
    checks_clock,
    checks_context,
    checks_disk,
    checks_docker,
    checks_gpu,
    checks_identity,
    checks_network,
    checks_onegate,
    checks_service,
    checks_tls,
    checks_training,
    checks_units,
    one_apps,
)
from oneflower.opennebula.doctor.host import Host

BUDGET_S = 85.0
_USUAL_S = 10.0
_A_BUNDLE = "run doctor again with --bundle FILE and report this"
_A_SHARE = "see `findmnt`; if a share hangs: `umount -fl FOLDER`, mount it again, and reboot"


@dataclass(frozen=True, slots=True)
class Check:
    """A check, its time limit, and what to do if it does not end."""

    name: str
    look: Callable[[Host], Iterable[Finding]]
    limit_s: float = _USUAL_S
    fix: str = _A_BUNDLE


def _folder(name: str, *, writable: bool = False) -> Check:
    return Check(f"folder-{name}", checks_disk.folder_check(name, writable=writable), fix=_A_SHARE)


# In this order, because a check uses what earlier ones have found out.
CHECKS: Final[Sequence[Check]] = (
    Check(checks_context.FLOWER, checks_context.flower),
    Check(checks_context.AGGREGATION, checks_context.aggregation),
    Check(checks_context.CONTEXT, checks_context.context),
    Check(checks_context.SETTINGS, checks_context.settings),
    Check(checks_context.TOKEN, checks_context.token),
    Check(one_apps.STAGES, one_apps.stages),
    Check(checks_onegate.ONEGATE, checks_onegate.answers, 50.0, "check that the front-end works"),
    Check(checks_service.SERVICE, checks_service.service, 50.0, "check that the front-end works"),
    Check(
        checks_onegate.PUBLISH,
        checks_onegate.round_trip,
        60.0,
        f"check that the front-end works; then `onegate vm update --erase {checks_onegate.PROBE}`",
    ),
    Check(checks_training.SHOWN, checks_training.shown),
    Check(checks_clock.CLOCK, checks_clock.clock),
    Check(checks_clock.CERTIFICATES, checks_clock.certificates),
    Check(checks_identity.KEY, checks_identity.keys),
    Check(checks_identity.TRUST, checks_identity.trust),
    Check(
        checks_network.NAMES,
        checks_network.names,
        8.0,
        "no name server responds: set ETHx_DNS in the context",
    ),
    Check(checks_network.ROUTE, checks_network.route),
    Check(checks_tls.TLS, checks_tls.tls),
    Check(checks_tls.FLEET, checks_tls.fleet, 20.0),
    Check("disk", checks_disk.root_disk),
    _folder("state", writable=True),
    _folder("certs"),
    _folder("data"),
    _folder("models"),
    _folder("apps"),
    _folder("checkpoints", writable=True),
    Check(checks_docker.ENGINE, checks_docker.engine, fix="systemctl restart docker"),
    Check(checks_docker.IMAGE, checks_docker.image, fix="systemctl restart docker"),
    Check(checks_units.UNITS, checks_units.units, 20.0),
    Check(checks_units.REGISTERED, checks_units.registered),
    Check(checks_training.JOURNAL, checks_training.training),
    Check(checks_gpu.GPU, checks_gpu.gpu, 60.0, "`dmesg | grep -i -e nvrm -e xid` may have the reason"),
)


def examine(host: Host, checks: Sequence[Check] = CHECKS, *, budget_s: float = BUDGET_S) -> list[Finding]:
    """Run every check; report those for which no time is left as skipped."""
    deadline = time.monotonic() + budget_s
    findings: list[Finding] = []
    for check in checks:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            findings.append(skipped(check.name, f"the checks above took all of {budget_s:.0f} s"))
        else:
            findings += _bounded(check, host, min(check.limit_s, left_s))
    return findings


def _bounded(check: Check, host: Host, limit_s: float) -> list[Finding]:
    """Run a check in a thread: a system call on a dead share cannot be aborted, only abandoned."""
    found: list[Finding] = []

    def work() -> None:
        try:
            for finding in check.look(host):
                found.append(finding)  # noqa: PERF402 - keep what was found before a failure
        except OneflowerError as error:
            found.append(problem(check.name, str(error), _A_BUNDLE))
        except Exception as error:  # noqa: BLE001 - a bug in one check must not hide the others
            found.append(problem(check.name, f"the check failed: {type(error).__name__}: {error}", _A_BUNDLE))

    thread = threading.Thread(target=work, name=f"check-{check.name}", daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        return [*found, problem(check.name, f"no result within {limit_s:.0f} s", check.fix)]
    return found
