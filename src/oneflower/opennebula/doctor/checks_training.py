"""How the training stands by its journal, and whether OneGate shows the same."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Final

from oneflower.codes import Phase
from oneflower.findings import Finding, ok, problem, skipped, warning
from oneflower.journal import Entry, Event, TrainingState, read_journal
from oneflower.journal import events as e
from oneflower.opennebula.appliance.configure import REPORT
from oneflower.opennebula.appliance.shown import MOST_ROUNDS
from oneflower.opennebula.appliance.shown import shown as shown_values
from oneflower.opennebula.doctor import one_apps
from oneflower.opennebula.doctor.host import Host
from oneflower.opennebula.onegate.encoding import decode
from oneflower.opennebula.roles import Machine
from oneflower.words import counted

JOURNAL, SHOWN = "training", "onegate-shows"
ERRORS: Final[Mapping[type[Event], str]] = {
    e.TrainingFailed: "the training failed",
    e.TrainingGaveUp: "the supervisor gave up",
    e.AppFailed: "the app failed",
    e.CheckpointFailed: "a checkpoint failed",
    e.RunLost: "a run was lost",
    e.ProcessDied: "a process ended",
}
"""Events that are errors until one of `_OVER` follows."""
_OVER: Final = (e.TrainingBegun, e.RoundCompleted, e.TrainingFinished)
# The report compares what is shown every minute, and OneGate may take 30 s.
_LAG = timedelta(seconds=120)
_REPEATED = ("FL_STATE", "FL_ROUND", "FL_CHECKPOINT_ROUND")
_RESTART = f"see that OneGate takes what is published (above), then: systemctl restart {REPORT}"


def training(host: Host) -> Iterator[Finding]:
    """Read the journal, and show its last error."""
    if host.machine is not Machine.SUPERLINK:
        yield skipped(JOURNAL, "the SuperLink writes the journal")
        return
    if not host.layout.journal.is_file():
        yield ok(JOURNAL, "no training has begun: there is no journal yet")
        return
    state, error = _read(host)
    values = shown_values(state)
    of = counted(state.total or 0, "round")
    rounds = f", {values['FL_ROUND']} of {of}" if "FL_ROUNDS" in values else ""
    text = f"{values['FL_STATE']}{rounds}"
    if error is None:
        yield ok(JOURNAL, text)
    elif state.phase is Phase.FAILED:
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


def _read(host: Host) -> tuple[TrainingState, Entry | None]:
    """Return the state, and the last error that nothing good has followed."""
    state, error = TrainingState(most_rounds=MOST_ROUNDS), None
    for entry in read_journal(host.layout.journal):
        if not state.take(entry):
            continue
        if type(entry.event) in ERRORS:
            error = entry
        elif isinstance(entry.event, _OVER):
            error = None
    return state, error


def _stale(host: Host, template: Mapping[str, str]) -> str:
    """Return what OneGate should show by now, and does not."""
    if host.machine is not Machine.SUPERLINK or not host.layout.journal.is_file():
        return ""
    state, _ = _read(host)
    if state.last_time is None or host.now() - state.last_time <= _LAG:
        return ""  # it changes right now
    settled = shown_values(state)
    wrong = [name for name in _REPEATED if name in settled and template.get(name) != settled[name]]
    return ", ".join(f"{name}={settled[name]}" for name in wrong)


def _line(error: Entry) -> str:
    reason = getattr(error.event, "words", "") or getattr(error.event, "reason", "") or "no reason given"
    time = "" if error.time is None else f"{error.time.isoformat(timespec='seconds')} "
    return f"{time}{ERRORS[type(error.event)]}: {reason}"[:400]


def _error_of(template: Mapping[str, str]) -> str:
    try:
        return " / ".join(decode("FL_ERROR", str(template["FL_ERROR"])).split("\n"))[:600].strip(" /")
    except ValueError:
        return "(cannot be read)"
