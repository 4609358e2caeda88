"""Journal events as lines of text for people."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from oneflower.monitor.final import NOT_KEPT, ending
from oneflower.monitor.records import Event
from oneflower.monitor.view import TrainingView

WARNINGS = frozenset(
    {
        "waiting_for_clients",
        "client_quarantined",
        "client_failed",
        "round_failed",
        "checkpoint_failed",
        "training_saving",
        "settings_changed",
        "evaluation_unavailable",
        "metric_missing",
        "client_state_kept",
        "client_state_lost",
        "training_failed",
        "app_failed",
        "process_died",
        "run_lost",
        "client_left",
        "training_gave_up",
    }
)

MOST_PARTS = 8
LEFT_OUT = "round {round}: client {client} left out: {reason}"
ROUND_FAILED = (
    "round {round} failed (try {attempt}): {reason}; the model is unchanged, the round is tried again"
)


def describe(event: Event, history: TrainingView) -> str | None:
    """Return one line about an event that ``history`` has taken already; None for one of no interest."""
    writer = _WRITERS.get(event["event"])
    try:
        return printable(writer(event, history)) if writer else None
    except (AttributeError, KeyError, TypeError, ValueError):
        return printable(f"{event['event']}, in a form that is not known here")


def printable(text: str) -> str:
    """Escape what could move a terminal's cursor or change its colours: clients send some of these texts."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def duration(seconds: float) -> str:
    """Return a duration as people say it: 8 s, 2 min 05 s, 1 h 02 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(size_bytes: int) -> str:
    """Return a size in kB, MB or GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes / 1e3:.1f} kB"


def metric_text(value: float) -> str:
    """Return a metric as people read it: four decimals, or four digits where it is tiny or huge."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.4g}"


def metrics_text(metrics: Mapping[str, float]) -> str:
    """Return metrics as ``loss 0.4100, accuracy 0.9000``."""
    return ", ".join(f"{name} {metric_text(value)}" for name, value in metrics.items())


def _parameters(event: Event) -> str:
    given = event.get("parameters") or {}
    listed = ", ".join(f"{name} {value}" for name, value in given.items())
    return f"{event.get('strategy', '?')}{f' ({listed})' if listed else ''}"


def _started(event: Event, _history: TrainingView) -> str:
    return f"training starts: {_parameters(event)}, {event.get('rounds', '?')} rounds"


def _resumed(event: Event, _history: TrainingView) -> str:
    done = f"round {event.get('round', '?')} of {event.get('rounds', '?')}"
    return f"training goes on after {done}: {_parameters(event)}"


def _round_completed(event: Event, history: TrainingView) -> str:
    parts = [f"round {event['round']} of {history.total} done in {float(event.get('seconds', 0)):.1f} s"]
    parts += [f"{event.get('valid', '?')} updates"]
    parts += [metrics_text(history.headline(int(event["round"])))]
    left_s = history.left_s()
    if left_s:
        parts += [f"about {duration(left_s)} left"]
    return ", ".join(filter(None, parts))


def _finished(event: Event, _history: TrainingView) -> str:
    not_kept = "" if event.get("path") else f"; the model was {NOT_KEPT}"
    return f"training has finished: {ending(event)}{not_kept}"


def _changed(event: Event, _history: TrainingView) -> str:
    listed = "; ".join(map(str, event["changes"]))
    return f"settings changed since round {event.get('round', '?')} was saved: {listed}"


def _checkpoint(event: Event, _history: TrainingView) -> str:
    name = PurePath(str(event.get("file", ""))).name
    return f"round {event.get('round', '?')}: checkpoint {name} saved ({size(int(event.get('bytes', 0)))})"


def _lost(event: Event, _view: TrainingView) -> str:
    again = ""
    if "delay_s" in event:
        delay_s = float(event["delay_s"])
        again = f": restart {event['restarts']} {f'in {delay_s:.0f} s' if delay_s else 'at once'}"
    return f"the run was lost ({event.get('reason', '?')}){again}"


def _parts(event: Event, _view: TrainingView) -> str:
    members = event.get("members") or []
    shown = ", ".join(f"VM {member} {part}" for part, member in enumerate(members[:MOST_PARTS]))
    more = f" and {len(members) - MOST_PARTS} more" if len(members) > MOST_PARTS else ""
    return f"round {event.get('round', '?')}: {len(members)} parts of the data: {shown}{more}"


def _app_failed(event: Event, _view: TrainingView) -> str:
    where = event.get("where")
    words = f"the app raised {event.get('error', 'an exception')}: {event.get('reason', '?')}"
    return f"{words} ({where})" if where else words


def _supervisor(event: Event, _view: TrainingView) -> str:
    reason = event.get("reason")
    return f"the supervisor is {event.get('state', '?')}{f': {reason}' if reason else ''}"


def _text(template: str) -> Any:
    """Return a writer that fills an event's fields in; a missing one becomes a question mark."""
    return lambda event, _history: template.format_map(_Fields(event))


class _Fields(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "?"


_WRITERS: dict[str, Any] = {
    "cluster_started": _text("the cluster is up: {nodes} SuperNodes are online"),
    "training_started": _started,
    "training_resumed": _resumed,
    "waiting_for_clients": _text("waiting for clients: {connected} of {needed} are connected"),
    "parts_assigned": _parts,
    "round_started": _text("round {round} of {rounds} starts with {clients} clients"),
    "client_quarantined": _text(LEFT_OUT),
    "client_failed": _text(LEFT_OUT),
    "round_failed": _text(ROUND_FAILED),
    "round_completed": _round_completed,
    "checkpoint_saved": _checkpoint,
    "checkpoint_failed": _text(
        "round {round}: the checkpoint could not be saved: {reason}; the training goes on"
    ),
    "training_saving": _text(
        "round {round} is trained and NOT saved yet (try {attempt} of {tries}): {reason}; it is held in "
        "memory and saved again"
    ),
    "settings_changed": _changed,
    "evaluation_unavailable": _text("round {round}: no client evaluates any more: {reason}"),
    "client_state_kept": _text(
        "clients keep state of their own (context.state: {records}): it is not in the checkpoints, and a "
        "resumed training starts it empty"
    ),
    "client_state_lost": _text(
        "the clients' own state (context.state: {records}) is lost with the run before: the training goes on "
        "with it empty, and does not end as one that never stopped"
    ),
    "metric_missing": _text("the training cannot end early: {reason}; see FL_BEST_METRIC"),
    "training_finished": _finished,
    "training_failed": _text("training has failed: {reason}"),
    "app_failed": _app_failed,
    "run_lost": _lost,
    "process_died": _text("{role} has ended: {reason}; it is started again"),
    "process_started": _text("{role} is running again"),
    "client_joined": _text("client {client} has joined: {connected} are connected"),
    "client_left": _text("client {client} has left: {connected} are connected"),
    "run_submitted": _text("the app is handed to the SuperLink (run {run})"),
    "supervisor_state": _supervisor,
    "training_gave_up": _text("the supervisor gave up after {restarts} restarts: {reason}"),
}
