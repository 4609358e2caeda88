"""A training as Prometheus metrics. Needs prometheus-client, of the extra `dashboard`."""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from oneflower.codes import LeftOutCode, Phase, RefusalCode
from oneflower.foreign_text import printable
from oneflower.journal import TrainingState
from oneflower.journal.state import courses, farthest
from oneflower.journal.state.outliers import WINDOW
from oneflower.monitor.gpu_metrics import gpu_families
from oneflower.monitor.state.safety import Proof, Safety
from oneflower.monitor.state.standing import Standing, standing

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PREFIX: Final = "oneflower"

Family = GaugeMetricFamily | CounterMetricFamily


class TrainingCollector(Collector):
    """Turns a training into metric families. Times are seconds, sizes bytes, as Prometheus wants them."""

    def __init__(self, view: TrainingState, safety: Safety, now: datetime) -> None:
        self._view, self._safety, self._now = view, safety, now

    def collect(self) -> Iterator[Family]:
        """Yield every family; one without a value yet has no sample."""
        yield from self._progress()
        yield from self._clients()
        yield from self._work()
        yield from self._model()
        yield from gpu_families(self._view)

    def _progress(self) -> Iterator[Family]:
        view = self._view
        yield _info("training", "What is trained, and how.", {"strategy": view.strategy, "app": view.app})
        yield _states("phase", "What the training does: 1 for the present phase.", view.phase, list(Phase))
        yield _gauge("round", "The last completed round.", view.done)
        yield _gauge("rounds", "The rounds of the whole training.", view.total)
        yield _gauge("round_running", "The round that runs; 0 before the first.", view.started_round)
        yield _gauge("round_attempt", "Which try of the running round this is.", view.attempt)
        last = view.rounds.get(view.done)
        yield _gauge(
            "round_seconds", "How long the last completed round took.", last.seconds if last else None
        )
        yield _gauge("aggregation_seconds", "How long the last aggregation took.", view.aggregation_s)
        left_s = None if view.phase is Phase.INTERRUPTED else view.left_s()
        yield _gauge("time_left_seconds", "Estimated time to the end.", left_s)
        heard = (self._now - view.last_time).total_seconds() if view.last_time else None
        yield _gauge("last_event_age_seconds", "Time since the journal's last event.", heard)
        yield _gauge(
            "journal_readable", "1 where the journal can be read just now, else 0.", not view.trouble
        )
        yield _gauge("journal_broken_lines", "Lines of the journal that cannot be read.", view.broken)
        later = view.unknown.total()
        yield _gauge("journal_unknown_events", "Events of the journal that are of a later version.", later)
        yield _counter("restarts", "How often the run was lost and started again.", view.restarts)
        yield _counter("resumes", "How often the training went on from a checkpoint.", view.resumes)
        yield _counter("round_failures", "Tries of a round that missed the quorum.", view.failed_rounds)

    def _clients(self) -> Iterator[Family]:
        view = self._view
        yield _gauge("clients_asked", "Clients that the running round was sent to.", view.clients)
        yield _gauge("clients_answered", "Clients that have answered in the running round.", view.replies)
        last = view.rounds.get(view.done)
        yield _gauge(
            "clients_valid", "Clients in the model of the last completed round.", last.valid if last else None
        )
        stands = [standing(view, client) for client in view.roster.values()]
        states = GaugeMetricFamily(f"{PREFIX}_clients", "Clients by how they stand.", labels=["state"])
        for stand in Standing:
            states.add_metric([stand.name.lower()], stands.count(stand))
        yield states
        found = courses(view, rounds=WINDOW)
        odd = GaugeMetricFamily(
            f"{PREFIX}_client_outliers", "Clients that stand out, by why.", labels=["why"]
        )
        odd.add_metric(["far"], sum(each.is_far for each in found))
        odd.add_metric(["never_used"], sum(each.is_never_used for each in found))
        yield odd
        text = "The largest distance of an update to the new model in the last round, in medians."
        yield _gauge("update_distance_largest", text, farthest(found))
        yield _by_reason("client_failures", "Clients that gave no update, by reason.", view.failures)
        yield _by_reason("client_quarantines", "Updates that were left out, by reason.", view.quarantines)
        text = "SuperNodes that were not let in, by reason."
        yield _by_reason("join_refusals", text, view.refused, RefusalCode)

    def _work(self) -> Iterator[Family]:
        view, safety = self._view, self._safety
        newest = safety.newest
        age_s = (self._now - newest.time).total_seconds() if newest and newest.time else None
        yield _gauge(
            "checkpoint_round", "The round of the newest good checkpoint.", newest.number if newest else None
        )
        yield _gauge("checkpoint_age_seconds", "The age of the newest good checkpoint.", age_s)
        size = newest.size_bytes if newest else None
        yield _gauge("checkpoint_size_bytes", "The size of the newest good checkpoint.", size)
        written = newest.seconds if newest else None
        yield _gauge("checkpoint_write_seconds", "How long the newest checkpoint took to write.", written)
        kept = GaugeMetricFamily(f"{PREFIX}_checkpoints", "Checkpoints on the disk.", labels=["proof"])
        for proof in Proof:
            kept.add_metric([proof.name.lower()], sum(each.proof is proof for each in safety.kept))
        yield kept
        yield _gauge("checkpoint_free_bytes", "Free space where checkpoints go.", safety.free_bytes)
        failed = view.failed_checkpoints
        yield _counter("checkpoint_failures", "Checkpoints that could not be written.", failed)

    def _model(self) -> Iterator[Family]:
        family = GaugeMetricFamily(
            f"{PREFIX}_model_metric", "The app's metrics of the last round.", labels=["origin", "name"]
        )
        last = self._view.rounds.get(self._view.done)
        measured = last.metrics.items() if last else ()
        # By the name as it is shown: two series of one name would make a scrape fail.
        shown = {(origin, printable(name)): value for (origin, name), value in measured}
        for (origin, name), value in shown.items():
            family.add_metric([origin, name], value)
        yield family


def exposition(view: TrainingState, safety: Safety, now: datetime) -> bytes:
    """Return the metrics in Prometheus' text form."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(TrainingCollector(view, safety, now))
    return generate_latest(registry)


def names() -> set[str]:
    """Return every metric's name as a query has to write it."""
    found = set()
    for family in TrainingCollector(TrainingState(), Safety(), datetime.now().astimezone()).collect():
        found.add(f"{family.name}_total" if family.type == "counter" else family.name)
    return found


def _gauge(name: str, text: str, value: float | None) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", text)
    if value is not None:
        family.add_metric([], value)
    return family


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    family = CounterMetricFamily(f"{PREFIX}_{name}", text)
    family.add_metric([], value)
    return family


def _info(name: str, text: str, labels: dict[str, str]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{PREFIX}_{name}_info", text, labels=list(labels))
    family.add_metric([printable(value) for value in labels.values()], 1)
    return family


def _states(name: str, text: str, present: Phase, every: list[Phase]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=["phase"])
    for phase in every:
        family.add_metric([phase.value], phase is present)
    return family


def _by_reason(name: str, text: str, found: Any, codes: type[StrEnum] = LeftOutCode) -> CounterMetricFamily:
    """Every code is always there: a series that appears with its first failure hides it from `increase`."""
    family = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=["reason"])
    for code in codes:
        family.add_metric([code.value], found[code])
    return family
