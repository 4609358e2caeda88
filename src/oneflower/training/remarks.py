"""What the round loop says once, to the log and the journal, of what the clients have shown of their app."""

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from logging import INFO, WARNING
from typing import Any, Final

from oneflower.flower.api import log
from oneflower.journal import Event
from oneflower.journal.events import ClientStateKept, ClientStateLost, EvaluationUnavailable, MetricMissing
from oneflower.settings import TrainingConfig
from oneflower.training.phases import Phases

CLIENT_STATE: Final = "client_state"
"""The records that clients keep in `context.state`, in a checkpoint's notes."""


@dataclass(slots=True, kw_only=True)
class Remarks:
    """Say each thing once a process; ``notes`` travel with the checkpoints."""

    config: TrainingConfig
    phases: Phases
    notes: MutableMapping[str, Any]
    no_evaluate: bool = False
    _missing_told: bool = False

    def no_evaluation(self, server_round: int) -> None:
        """Say that clients do not evaluate; all have the same app, so none is asked again."""
        self.no_evaluate = True
        log(
            WARNING,
            "the app has no @app.evaluate() for its clients: they are not asked to evaluate any more. "
            "FL_MIN_EVALUATE_CLIENTS=0 does not ask at all",
        )
        self._record(EvaluationUnavailable, server_round, reason="the ClientApp has no @app.evaluate()")

    def missing(self, server_round: int, found: str | None) -> None:
        """Say that the metric that ends the training is not measured; `found` is what is, if that is so."""
        if found is None or self._missing_told:
            return
        self._missing_told = True
        wanted = self.config.best_metric or "an accuracy or a loss"
        reason = f"nothing has measured {wanted} so far, only: {found}"
        log(WARNING, "the training cannot end early: %s. Set FL_BEST_METRIC to one of them", reason)
        self._record(MetricMissing, server_round, metric=self.config.best_metric, reason=reason)

    def who_decides(self, *, clients: bool) -> None:
        """Say that what clients measure decides, and how: it is not the mean then."""
        if clients:
            log(
                INFO,
                "what the clients measure decides the best round and an early end: each of their metrics is "
                "the median of the clients, so that one of them decides nothing",
            )

    def client_state(self, server_round: int) -> None:
        """Say that clients keep what no checkpoint holds; the checkpoints remember that they do."""
        if not self.phases.client_state or self.notes.get(CLIENT_STATE):
            return
        records = self.notes[CLIENT_STATE] = sorted(self.phases.client_state)
        log(
            WARNING,
            "clients keep state of their own, which is not in the checkpoints: a resumed training starts it "
            "empty context.state=%s",
            ",".join(records),
        )
        self._record(ClientStateKept, server_round, records=tuple(records))

    def client_state_lost(self, last_round: int) -> None:
        """Say on a resume that what clients had kept is gone with the run before."""
        records = self.notes.get(CLIENT_STATE)
        if not records:
            return
        log(
            WARNING,
            "the state that clients had kept is lost with the run before: it starts empty, and the training "
            "does not end as one that never stopped context.state=%s",
            ",".join(records),
        )
        self._record(ClientStateLost, last_round, records=tuple(records))

    def _record(self, event: Callable[..., Event], server_round: int, **fields: object) -> None:
        self.phases.record(event(round=server_round, rounds=self.config.num_rounds, **fields))
