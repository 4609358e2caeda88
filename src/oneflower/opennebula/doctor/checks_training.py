"""How the training stands by its journal, and whether OneGate shows the same."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from oneflower.findings import Finding, ok, problem, skipped, warning
from oneflower.journal import read_journal
from oneflower.opennebula.appliance.configure import REPORT
from oneflower.opennebula.appliance.progress import Progress
from oneflower.opennebula.doctor import one_apps
from oneflower.opennebula.doctor.host import Host
from oneflower.opennebula.onegate.encoding import decode
from oneflower.opennebula.roles import Machine

JOURNAL, SHOWN = "training", "onegate-shows"
ERRORS = (
    "training_failed",
    "training_gave_up",
    "app_failed",
    "checkpoint_failed",
    "run_lost",
    "process_died",
)
# Afterwards what was wrong before is over.
_OVER = ("training_started", "training_resumed", "round_completed", "training_finished")
# The report compares what is shown every minute, and OneGate may take 30 s.
_LAG = timedelta(seconds=120)
_REPEATED = ("FL_STATE", "FL_ROUND", "FL_CHECKPOINT_ROUND")
_RESTART = f"see that OneGate takes what is published (above), then: systemctl restart {REPORT}"


def training(host: Host) -> Iterator[Finding]:
    """Fold the journal, and show its last error."""
    if host.machine is not Machine.SUPERLINK:
        yield skipped(JOURNAL, "the SuperLink writes the journal")
        return
    if not host.layout.journal.is_file():
        yield ok(JOURNAL, "no training has begun: there is no journal yet")
        return
    progress, error = _fold(host)
    of = f" {progress.round} of {progress.rounds} rounds" if progress.rounds else ""
    text = f"{progress.state},{of}" if of else progress.state
    if error is None:
        yield ok(JOURNAL, text)
    elif progress.state == "failed" or error["event"] == "training_gave_up":
        fix = "fix that; a reboot, or changed settings, tries again. `oneflower logs --journal` has it all"
        yield problem(JOURNAL, f"{text}; {_line(error)}", f"{fix} ({host.layout.journal})")
    else:
        fix = "nothing, if it goes on: the supervisor starts it again; `journalctl -u flower-supervisor`"
        yield warning(JOURNAL, f"{text}; {_line(error)}", fix)


def shown(host: Host) -> Iterator[Finding]:
    """Compare READY and FL_STATE of OneGate with what this machine knows of itself."""
    template = host.user_template
    if host.facts.vm is None:
        yield skipped(SHOWN, "OneGate did not answer")
        return
    text = f"READY={template.get('READY', 'nothing')}, FL_STATE={template.get('FL_STATE', 'nothing')}"
    if template.get("FL_ERROR"):
        state = template.get("FL_STATE")
        bad = problem if state == "failed" else warning
        yield bad(SHOWN, f"{text}; FL_ERROR: {_error_of(template)}", "fix what it says")
    if one_apps.has_succeeded(host) and template.get("READY") != "YES":
        fix = f"{REPORT} puts that right within a minute: run doctor again; else {_RESTART}"
        yield problem(SHOWN, f"{text}, although bootstrap has ended well", fix)
    elif stale := _stale(host, template):
        yield warning(SHOWN, f"{text}; the journal says otherwise: {stale}", _RESTART)
    elif not template.get("FL_ERROR"):
        yield ok(SHOWN, text)


def _fold(host: Host) -> tuple[Progress, Mapping[str, Any] | None]:
    progress, error = Progress(), None
    for event in read_journal(host.layout.journal):
        progress.take(event)
        if event["event"] in ERRORS:
            error = event
        elif event["event"] in _OVER:
            error = None
    return progress, error


def _stale(host: Host, template: Mapping[str, str]) -> str:
    """Return what OneGate should show by now, and does not."""
    if host.machine is not Machine.SUPERLINK or not host.layout.journal.is_file():
        return ""
    progress, moment = Progress(), None
    for event in read_journal(host.layout.journal):
        progress.take(event)
        moment = _moment(event)
    if moment is None or host.now() - moment <= _LAG:
        return ""  # it changes right now
    settled = progress.values()
    wrong = [name for name in _REPEATED if name in settled and template.get(name) != settled[name]]
    return ", ".join(f"{name}={settled[name]}" for name in wrong)


def _moment(event: Mapping[str, Any]) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(event.get("time", "")))
    except ValueError:
        return None
    return found if found.tzinfo else None


def _line(event: Mapping[str, Any]) -> str:
    return f"{event.get('time', '')} {event['event']}: {event.get('reason', 'no reason given')}"[:400]


def _error_of(template: Mapping[str, str]) -> str:
    try:
        return " / ".join(decode("FL_ERROR", str(template["FL_ERROR"])).split("\n"))[:600].strip(" /")
    except ValueError:
        return "(cannot be read)"
