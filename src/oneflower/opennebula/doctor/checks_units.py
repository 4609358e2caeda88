"""Do the machine's units run, and has the SuperLink taken this SuperNode."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from oneflower.errors import ClusterError
from oneflower.findings import Finding, ok, problem, skipped, warning
from oneflower.opennebula.appliance import services
from oneflower.opennebula.appliance.configure import REPORT
from oneflower.opennebula.appliance.health import supernode_is_registered
from oneflower.opennebula.appliance.systemd import JOURNALCTL, SYSTEMCTL
from oneflower.opennebula.doctor.host import Host, last_error
from oneflower.opennebula.roles import Machine
from oneflower.settings import NO_USE_CASE

UNITS, REGISTERED = "units", "registration"
DOCKER, CONTEXT = "docker.service", "one-context.service"
PROPERTIES = ("Id", "LoadState", "ActiveState", "SubState", "Result", "UnitFileState", "NRestarts")
MANY_RESTARTS = 5
_LOG_LINES = "200"
_STAGES_WRITE_IT = "the stages write it: mend what stops them, then reboot"


@dataclass(frozen=True, slots=True)
class _Expected:
    """A unit that this machine should run, and whether training stops without it."""

    name: str
    needed: bool = True


def units(host: Host) -> Iterator[Finding]:
    """Ask systemd for every unit that the settings call for."""
    expected = expected_units(host)
    try:
        shown = _show(host, [unit.name for unit in expected] + [CONTEXT])
    except ClusterError as error:
        yield problem(UNITS, f"systemd does not answer: {last_error(str(error))}", "reboot")
        return
    for unit in expected:
        yield _unit(host, unit, shown.get(unit.name, {}))
    if shown.get(CONTEXT, {}).get("UnitFileState") in ("disabled", "masked"):
        yield problem(
            CONTEXT, "it is not enabled: no stage runs at the next boot", f"systemctl enable {CONTEXT}"
        )


def expected_units(host: Host) -> list[_Expected]:
    """Return the units of the role; those that depend on settings only where these are known."""
    resolution = host.learned.resolution
    found = [_Expected(f"{_main(host)}.service")]
    if resolution and resolution.settings.isolation == "process":
        found.append(_Expected(f"{services.SUPEREXEC_NAME}.service"))
    if host.machine is Machine.SUPERLINK:
        if resolution and resolution.settings.use_case != NO_USE_CASE:
            found.append(_Expected(f"{services.SUPERVISOR_NAME}.service"))
        found.append(_Expected(f"{services.DASHBOARD_NAME}.service", needed=False))
    if host.onegate is not None:
        found.append(_Expected(REPORT))
    return found


def registered(host: Host) -> Iterator[Finding]:
    """Look in the SuperNode's log for what it says once its SuperLink has taken it."""
    name = f"{services.SUPERNODE_NAME}.service"
    if host.machine is not Machine.SUPERNODE:
        yield skipped(REGISTERED, "this is a SuperLink")
        return
    try:
        taken = supernode_is_registered(host.stage.systemd, name)
    except ClusterError as error:
        yield skipped(REGISTERED, last_error(str(error)))
        return
    if taken:
        yield ok(REGISTERED, "the SuperLink has taken this SuperNode since it was started")
    else:
        mend = "see route, tls and fleet-api above; then `journalctl -u flower-supernode`"
        yield problem(REGISTERED, "the SuperLink has not taken this SuperNode", mend)


def _main(host: Host) -> str:
    return services.SUPERLINK_NAME if host.machine is Machine.SUPERLINK else services.SUPERNODE_NAME


def _show(host: Host, names: list[str]) -> dict[str, Mapping[str, str]]:
    """Return the properties of each unit by its name."""
    told = host.commands.run(SYSTEMCTL, "show", f"--property={','.join(PROPERTIES)}", "--", *names)
    blocks = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in told.split("\n\n")]
    return {block["Id"]: block for block in blocks if "Id" in block}


def _unit(host: Host, unit: _Expected, shown: Mapping[str, str]) -> Finding:
    state, sub = shown.get("ActiveState", ""), shown.get("SubState", "")
    text = f"{state} ({sub})" if sub else state
    bad = problem if unit.needed else warning
    if shown.get("LoadState") in ("not-found", "masked", None):
        return bad(unit.name, "there is no such unit", _STAGES_WRITE_IT)
    restarts = int(shown.get("NRestarts") or 0)
    if state == "active" and restarts >= MANY_RESTARTS:
        said = _said(host, unit.name)
        mend = f"`journalctl -u {unit.name}` says why it ended before"
        return warning(unit.name, f"{text}, started again {restarts} times{said}", mend)
    if state == "active":
        return ok(unit.name, text)
    if state == "inactive":
        return bad(unit.name, f"{text}: it was stopped, or never started", f"systemctl start {unit.name}")
    result = shown.get("Result", "")
    why = f", {result}" if result and result != "success" else ""
    return bad(unit.name, f"{text}{why}{_said(host, unit.name)}", _mend(unit.name))


def _mend(name: str) -> str:
    if name == f"{services.SUPERVISOR_NAME}.service":
        return "mend what its log says; a reboot, or changed settings, tries again"
    if name == REPORT:
        return f"mend OneGate above, then: systemctl restart {name}"
    return f"mend what its log says (`journalctl -u {name}`), then: systemctl restart {name}"


def _said(host: Host, name: str) -> str:
    words = ("--output=cat", "--no-pager", f"--lines={_LOG_LINES}", f"--unit={name}")
    try:
        said = last_error(host.commands.run(JOURNALCTL, *words))
    except ClusterError:
        return ""
    return f"; its log: {said}" if said else ""
