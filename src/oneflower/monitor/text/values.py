"""How people read values: names, durations, sizes, metrics, and what is wrong with a journal."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from oneflower.journal import TrainingState
from oneflower.journal import events as e
from oneflower.journal.state.records import Client
from oneflower.quality import Measure, headline, label, label_beside
from oneflower.words import are, counted

MOST_KINDS: Final = 3
NOT_KEPT: Final = "not kept: FL_CHECKPOINT_ENABLED is NO"


def called(state: TrainingState, client: str) -> str:
    """Return the name of a client: its own, or Flower's id while it has given none."""
    return state.names.get(client, client)


def name_and_partition(client: Client) -> str:
    """Return what a client is called, with its partition where it has said it: ``vm-3 (partition 2)``."""
    return client.shown if client.partition is None else f"{client.shown} (partition {client.partition})"


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


def headline_of(state: TrainingState, number: int) -> dict[str, float]:
    """Return the loss and the quality of a round by the words that people use; empty for no such round."""
    return headline(state.rounds[number].metrics) if number in state.rounds else {}


def best_name(state: TrainingState, metric: Measure) -> str:
    """Return what the metric of the best round is called: the word of the headline only where that is it."""
    return label_beside(metric, state.rounds[state.done].metrics) if state.rounds else label(metric)


def strategy_text(strategy: str, parameters: Mapping[str, Any]) -> str:
    """Return a strategy with its parameters: ``Krum (num_malicious 2)``."""
    listed = ", ".join(f"{name} {value}" for name, value in parameters.items())
    return f"{strategy}{f' ({listed})' if listed else ''}"


def clients_asked(event: e.RoundStarted) -> str:
    """Return how many clients a round has, and how many of them are asked where those are fewer."""
    clients = counted(event.clients, "client")
    return clients if event.asked in (0, event.clients) else f"{event.asked} of {clients}"


def ending(finish: e.TrainingFinished) -> str:
    """Return after which round the training ended, and why, where that was not the last one asked for."""
    done = f"round {finish.round} of {finish.rounds or '?'}"
    return f"{done}, stopped early: {finish.because}" if finish.because else done


def final_rows(finish: e.TrainingFinished | None, *, lost: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """Yield what is known of the final model; an app without events reports nothing.

    `lost` are files that are known to be there no more.
    """
    if finish is None:
        yield "final model", "not reported by the app"
        return
    if finish.because:
        yield "stopped early", f"after round {finish.round}: {finish.because}"
    gone = " (it is not there any more)" if finish.path in lost else ""
    yield "final model", f"{finish.path or NOT_KEPT}{gone}"
    yield "SHA-256", finish.sha256 or "not reported by the app"


def saving_text(saving: e.TrainingSaving) -> str:
    """Return which model waits to be saved, and why."""
    return f"the model of round {saving.round} (attempt {saving.attempt} of {saving.tries}): {saving.reason}"


def waiting_text(waiting: e.WaitingForClients) -> str:
    """Return how many clients are there of how many, and how many of them do not count yet."""
    if failing := len(waiting.failing):
        left = waiting.connected - failing
        return (
            f"{left} of {waiting.connected} connected clients {are(left)} counted, {waiting.needed} needed: "
            f"{counted(failing, 'client')} failed in the last rounds and will be asked again"
        )
    return f"{waiting.connected} of {counted(waiting.needed, 'client')} {are(waiting.needed)} connected"


def journal_problems(state: TrainingState) -> Iterator[tuple[str, str]]:
    """Yield what is missing in a journal that could be read, and what that means."""
    if state.begins_late:
        detail = "Older events were rotated out of it: counts and curves are of the rest."
        yield f"The journal begins with round {state.first_told}.", detail
    if state.last_broken:
        lines = counted(state.broken, "line")
        detail = f"The last one: {state.last_broken.why}. Such lines are skipped, the others count."
        yield f"{lines} of the journal cannot be read.", detail
    if count := state.unknown.total():
        listed = ", ".join(f"{name} ({times})" for name, times in state.unknown.most_common(MOST_KINDS))
        detail = f"They are not shown: {listed}. Read this journal with a newer oneflower."
        yield f"{counted(count, 'event')} of the journal {are(count)} of a later version.", detail
