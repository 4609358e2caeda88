"""Check that the machine's units run, and that the SuperLink has registered this SuperNode."""

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
from oneflower.words import counted

UNITS, REGISTERED = "units", "registration"
DOCKER, CONTEXT = "docker.service", "one-context.service"
PROPERTIES = ("Id", "LoadState", "ActiveState", "SubState", "Result", "UnitFileState", "NRestarts")
MANY_RESTARTS = 5
_LOG_LINES = "200"
_STAGES_WRITE_IT = "the stages write it: fix what stops them, then reboot"


@dataclass(frozen=True, slots=True)
class _Expected:
    """A unit that this machine should run, and whether the training needs it."""

    name: str
    needed: bool = True


def units(host: Host) -> Iterator[Finding]:
    """Check every unit that the settings require."""
    expected = expected_units(host)
    try:
        shown = _show(host, [unit.name for unit in expected] + [CONTEXT])
    except ClusterError as error:
        yield problem(UNITS, f"systemd does not respond: {last_error(str(error))}", "reboot")
        return
    for unit in expected:
        yield _unit(host, unit, shown.get(unit.name, {}))
    if shown.get(CONTEXT, {}).get("UnitFileState") in ("disabled", "masked"):
        yield problem(
            CONTEXT, "not enabled: no stage will run at the next boot", f"systemctl enable {CONTEXT}"
        )


def expected_units(host: Host) -> list[_Expected]:
    """Return the units of the role, including those that depend on settings if these are valid."""
    resolution = host.facts.resolution
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
    """Check the SuperNode's log for the message that follows its registration."""
    name = f"{services.SUPERNODE_NAME}.service"
    if host.machine is not Machine.SUPERNODE:
        yield skipped(REGISTERED, "this machine is a SuperLink")
        return
    try:
        is_registered = supernode_is_registered(host.stage.systemd, name)
    except ClusterError as error:
        yield skipped(REGISTERED, last_error(str(error)))
        return
    if is_registered:
        yield ok(REGISTERED, "the SuperLink has registered this SuperNode since its last start")
    else:
        fix = "see the checks `route`, `tls` and `fleet-api`; then `journalctl -u flower-supernode`"
        yield problem(REGISTERED, "the SuperLink has not registered this SuperNode", fix)


def _main(host: Host) -> str:
    return services.SUPERLINK_NAME if host.machine is Machine.SUPERLINK else services.SUPERNODE_NAME


def _show(host: Host, names: list[str]) -> dict[str, Mapping[str, str]]:
    """Return the properties of each unit by its name."""
    output = host.commands.run(SYSTEMCTL, "show", f"--property={','.join(PROPERTIES)}", "--", *names)
    blocks = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in output.split("\n\n")]
    return {block["Id"]: block for block in blocks if "Id" in block}


def _unit(host: Host, unit: _Expected, shown: Mapping[str, str]) -> Finding:
    state, sub = shown.get("ActiveState", ""), shown.get("SubState", "")
    text = f"{state} ({sub})" if sub else state
    bad = problem if unit.needed else warning
    if shown.get("LoadState") in ("not-found", "masked", None):
        return bad(unit.name, "the unit does not exist", _STAGES_WRITE_IT)
    restarts = int(shown.get("NRestarts") or 0)
    if state == "active" and restarts >= MANY_RESTARTS:
        error = _last_error(host, unit.name)
        fix = f"`journalctl -u {unit.name}` has the reasons"
        return warning(unit.name, f"{text}, restarted {counted(restarts, 'time')}{error}", fix)
    if state == "active":
        return ok(unit.name, text)
    if state == "inactive":
        return bad(unit.name, f"{text}: stopped or never started", f"systemctl start {unit.name}")
    result = shown.get("Result", "")
    why = f", {result}" if result and result != "success" else ""
    return bad(unit.name, f"{text}{why}{_last_error(host, unit.name)}", _fix(unit.name))


def _fix(name: str) -> str:
    if name == f"{services.SUPERVISOR_NAME}.service":
        return "fix the error in its log; then reboot or change the settings to start it again"
    if name == REPORT:
        return f"fix the problem of OneGate above, then: systemctl restart {name}"
    return f"fix the error in its log (`journalctl -u {name}`), then: systemctl restart {name}"


def _last_error(host: Host, name: str) -> str:
    options = ("--output=cat", "--no-pager", f"--lines={_LOG_LINES}", f"--unit={name}")
    try:
        error = last_error(host.commands.run(JOURNALCTL, *options))
    except ClusterError:
        return ""
    return f"; its log: {error}" if error else ""
