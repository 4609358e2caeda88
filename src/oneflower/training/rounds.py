"""The round loop: Flower's strategy hooks, with true round numbers, a quorum, and nothing lost on the way."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from logging import INFO, WARNING

from oneflower.aggregation import (
    AggregationError,
)
from oneflower.checkpoints import normalised
from oneflower.codes import RoundFailure
from oneflower.errors import AppError, TrainingError
from oneflower.flower.api import ArrayRecord, ConfigRecord, MetricRecord, Result, log
from oneflower.flower.records import array_views
from oneflower.journal import Event
from oneflower.journal.events import (
    RoundAggregated,
    RoundCompleted,
    RoundFailed,
)
from oneflower.quality import as_metrics
from oneflower.settings import TrainingConfig
from oneflower.training.advice import advice
from oneflower.training.attempt import Try
from oneflower.training.checkpoint_keeping import CheckpointKeeper
from oneflower.training.draw import SAME_DRAW_TRIES
from oneflower.training.driver import Driver
from oneflower.training.evaluation import evaluate_on_clients
from oneflower.training.gathering import (
    collect_updates,
    counted_updates,
    drawn_of,
    shared_by_all,
)
from oneflower.training.history import clients_decide, round_metrics
from oneflower.training.measuring import record_measured
from oneflower.training.phases import Phases
from oneflower.training.plausible import plausible_updates
from oneflower.training.remarks import Remarks
from oneflower.training.stopping import Stop, Stopping
from oneflower.words import counted

EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | Mapping[str, object] | None]

# The round from which the patience of early stopping counts, in a checkpoint's notes.
PATIENCE_FROM = "patience_from"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The last round of a training, and why it is the last, where FL_NUM_ROUNDS says more."""

    round: int
    stop: Stop | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundLoop:
    """Run the rounds of one training.

    Parameters
    ----------
    train_config, evaluate_config : ConfigRecord
        What every train or evaluate message carries besides the round, the seed and the strategy's own.
    evaluate : callable, optional
        Central evaluation: (round, arrays) to metrics.
    stopping : Stopping
        Says after each round whether it was the last.
    remarks : Remarks
        Says once what the clients have shown of their app.
    """

    config: TrainingConfig
    strategy: Driver
    phases: Phases
    keeper: CheckpointKeeper
    evaluate: EvaluateFn | None
    train_config: ConfigRecord
    evaluate_config: ConfigRecord
    stopping: Stopping
    remarks: Remarks

    def run(
        self, result: Result, last_round: int, *, more_rounds: bool = False, evaluated: bool = False
    ) -> Ending:
        """Continue after `last_round` (0: from the start) to the last round, and say which that was.

        `more_rounds` says that the operator has raised FL_NUM_ROUNDS since: a training that had ended early
        for want of improvement goes on, and gets its patience back. `evaluated` says that the checkpoint was
        made after the evaluation of its round.

        Raises
        ------
        TrainingError
            A round missed its quorum once more than FL_ROUND_RETRIES times.
        AppError
            Every client had the same fault twice, or the central evaluation returned no metrics.
        """
        if last_round == 0:
            self._evaluate_centrally(0, result)
        elif last_round < self.config.num_rounds or self.phases.unfinished(last_round):
            self._take_up(last_round, result, evaluated=evaluated)
        self._recall(last_round, result, more_rounds=more_rounds)
        self.remarks.who_decides(clients=clients_decide(result, self.config.quality))
        for server_round in range(last_round + 1, self.config.num_rounds + 1):
            if stop := self.stopping.stop():
                log(INFO, "training ends early round=%d because=%s", server_round - 1, stop.because)
                return Ending(round=server_round - 1, stop=stop)
            self._run_round(server_round, result)
            self.stopping.take(server_round, round_metrics(result, server_round))
            self.remarks.missing(server_round, self.stopping.missing())
        end = max(last_round, self.config.num_rounds)
        self.remarks.missing(end, self.stopping.missing(at_end=True))
        return Ending(round=end, stop=None)

    def _recall(self, last_round: int, result: Result, *, more_rounds: bool) -> None:
        """Go through what was measured before a resume, so that the decision is that of the whole history."""
        since = int(self.keeper.notes.get(PATIENCE_FROM, 0))
        for number in range(1, last_round + 1):
            self.stopping.take(number, round_metrics(result, number))
            if number == since:
                self.stopping.restart()
        if more_rounds and self.stopping.stop():
            self.stopping.restart()
            self.keeper.notes[PATIENCE_FROM] = last_round

    def _run_round(self, server_round: int, result: Result) -> None:
        started = time.monotonic()
        valid = self._train_until_quorum(server_round, result)
        self.remarks.clients(server_round)
        self._evaluate_centrally(server_round, result)
        self.keeper.keep(server_round, result, self.strategy)
        evaluate_on_clients(self, server_round, result)
        self._complete(server_round, result, valid, time.monotonic() - started)

    def _take_up(self, last_round: int, result: Result, *, evaluated: bool) -> None:
        """Do what the checkpoint's round lacks: its evaluation, which follows the checkpoint, and its end.

        Metrics of it may be known, from a training that had ended; what it has changed of a strategy is not.
        """
        started = time.monotonic()
        left = self.phases.unfinished(last_round)
        self.phases.assign_parts(last_round)
        known = last_round in result.evaluate_metrics_clientapp
        if not evaluated and (not known or self.strategy.evaluation_changes_state):
            evaluate_on_clients(self, last_round, result)
        if left is not None:
            self._complete(last_round, result, left.valid, left.seconds + time.monotonic() - started)

    def _complete(self, server_round: int, result: Result, valid: int, seconds: float) -> None:
        metrics = as_metrics(round_metrics(result, server_round))
        log(INFO, "round completed round=%d/%d valid=%d", server_round, self.config.num_rounds, valid)
        self._record(RoundCompleted, server_round, valid=valid, seconds=seconds, metrics=metrics)

    def _record(self, event: Callable[..., Event], server_round: int, **fields: object) -> None:
        self.phases.record(event(round=server_round, rounds=self.config.num_rounds, **fields))

    # --- training ---------------------------------------------------------------------------------

    def _train_until_quorum(self, server_round: int, result: Result) -> int:
        """Try one round until enough updates are valid; return their number. The model changes only then."""
        before: Try | None = None
        failures: Counter[int] = Counter()
        put_back = self.strategy.snapshot() if self.config.round_retries else None
        for attempt in range(1, self.config.round_retries + 2):
            tried = self._attempt(server_round, result, failures)
            if tried.reason is None:
                return tried.valid
            left = self.config.round_retries + 1 - attempt
            again = before if tried.confirms(before) else None
            same = tried.shared if again and again.shared == tried.shared else None
            log(WARNING, "round failed round=%d attempt=%d reason=%s", server_round, attempt, tried.reason)
            self._record(
                RoundFailed,
                server_round,
                attempt=attempt,
                code=tried.code,
                reason=tried.reason,
                valid=tried.valid,
                needed=tried.needed,
                tries_left=0 if same else left,
            )
            if tried.blames_model and (not left or (again and again.blames_model)):
                self.keeper.require_no_way_back(server_round - 1, tried.reason)
            if same:
                raise AppError(
                    f"in two tries of round {server_round}{', with other clients' if tried.drawn else ''}, "
                    f"{same}. Mend the app; `oneflower app check` runs it on one client"
                )
            before = tried
            if left and put_back is not None:
                put_back()
                self.phases.back_off(attempt)
        missed = "gave no model" if tried.code is RoundFailure.NO_MODEL else "missed its quorum"
        raise TrainingError(
            f"round {server_round} {missed} {counted(attempt, 'time')}; the last time: {tried.reason}. "
            f"The model is that of round {server_round - 1}. "
            f"{advice(tried.code, self.config, silent=tried.silent, too_large=tried.too_large)}, "
            f"or raise FL_ROUND_RETRIES (now {self.config.round_retries})"
        )

    def _attempt(self, server_round: int, result: Result, failures: Counter[int]) -> Try:
        """Try a round once; ``failures`` counts whose updates it has missed, over all tries of the round."""
        needed = max(self.config.min_available_clients, self.config.quorum)
        cohort = self.phases.gather_cohort(needed, counted=True)
        if len(cohort) < needed:
            reason = f"{counted(len(cohort), 'client')} connected, {needed} needed"
            return Try(reason=reason, valid=0, needed=needed, code=RoundFailure.FEW_CLIENTS)
        self.phases.assign_parts(server_round)
        model = array_views(result.arrays)
        failing = {node for node, times in failures.items() if times >= SAME_DRAW_TRIES}
        collected = collect_updates(
            self, server_round, arrays=result.arrays, model=model, cohort=cohort, failing=failing
        )
        quarantined, valid = collected.quarantined, len(collected.valid)
        quorum = min(self.config.quorum_after(quarantined), collected.asked)
        senders = [update.client for update in collected.valid]
        self.phases.members.attempted(collected.nodes, senders, passed=valid >= quorum)
        failures.update(collected.nodes.difference(senders))
        if valid < quorum:
            at_work = f", {counted(collected.silent, 'client')} still at work" if collected.silent else ""
            return Try(
                reason=f"{counted(valid, 'valid update')}, {quorum} needed{at_work}",
                valid=valid,
                needed=quorum,
                code=RoundFailure.FEW_UPDATES,
                silent=collected.silent,
                too_large=collected.too_large,
                shared=shared_by_all(collected, len(cohort)),
                blames_model=2 * collected.broken > collected.asked,
                drawn=drawn_of(collected, len(cohort)),
            )
        collected = counted_updates(collected)
        valid = len(collected.valid)
        updates = plausible_updates(self.phases, self.strategy, server_round, model, collected)
        started = time.monotonic()
        try:
            arrays, metrics = self.strategy.aggregate(
                server_round,
                model,
                updates,
                quarantined=quarantined,
                clients_decide=clients_decide(result, self.config.quality),
            )
        except AggregationError as error:
            reason, code = str(error), RoundFailure.NO_MODEL
            return Try(reason=reason, valid=valid, needed=quorum, code=code)
        seconds = time.monotonic() - started
        self._record(RoundAggregated, server_round, valid=valid, seconds=seconds)
        if arrays is not None:
            came, driver, new = collected.valid, self.strategy, array_views(arrays)
            record_measured(self.phases, server_round, updates, came, driver, sent=model, new=new)
            result.arrays = arrays
        if metrics is not None:
            result.train_metrics_clientapp[server_round] = metrics
        return Try(reason=None, valid=valid, needed=quorum)

    # --- evaluation -------------------------------------------------------------------------------

    def _evaluate_centrally(self, server_round: int, result: Result) -> None:
        measured = None if self.evaluate is None else self.evaluate(server_round, result.arrays)
        if measured is None:
            return
        metrics = normalised(measured, source=f"the central evaluation of round {server_round}")
        log(INFO, "central evaluation round=%d metrics=%s", server_round, metrics)
        result.evaluate_metrics_serverapp[server_round] = MetricRecord(metrics)
