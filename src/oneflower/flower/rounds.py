"""The round loop: Flower's strategy hooks, with true round numbers, a quorum, and nothing lost on the way."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from logging import INFO, WARNING

from flwr.common import ArrayRecord, ConfigRecord, MetricRecord, log
from flwr.serverapp.strategy import Result

from oneflower.errors import TrainingError
from oneflower.flower.history import round_metrics
from oneflower.flower.keeper import Keeper
from oneflower.flower.phases import Collected, Phases
from oneflower.flower.strategies import OneflowerStrategy
from oneflower.settings import TrainingConfig

EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One try of a round: why it failed, or None, and its valid updates beside how many were needed.

    Where too few clients were connected, ``needed`` is how many must be.
    """

    reason: str | None
    valid: int
    needed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundLoop:
    """Run the rounds of one training.

    Parameters
    ----------
    train_config, evaluate_config : ConfigRecord
        What every train or evaluate message carries besides the round, the seed and the strategy's own.
    evaluate : callable, optional
        Central evaluation: (round, arrays) to metrics.
    """

    config: TrainingConfig
    strategy: OneflowerStrategy
    phases: Phases
    keeper: Keeper
    evaluate: EvaluateFn | None
    train_config: ConfigRecord
    evaluate_config: ConfigRecord

    def run(self, result: Result, last_round: int) -> Result:
        """Continue after `last_round` (0: from the start) until round FL_NUM_ROUNDS.

        Raises
        ------
        TrainingError
            A round missed its quorum once more than FL_ROUND_RETRIES times.
        """
        if last_round == 0:
            self._evaluate_centrally(0, result)
        else:
            self._take_up(last_round, result)
        for server_round in range(last_round + 1, self.config.num_rounds + 1):
            self._run_round(server_round, result)
        self.keeper.conclude(result)
        return result

    def _run_round(self, server_round: int, result: Result) -> None:
        started = time.monotonic()
        valid = self._train_until_quorum(server_round, result)
        self._evaluate_centrally(server_round, result)
        self.keeper.keep(server_round, result, self.strategy)
        self._evaluate_on_clients(server_round, result)
        self._complete(server_round, result, valid, time.monotonic() - started)

    def _take_up(self, last_round: int, result: Result) -> None:
        """Do what the checkpoint's round lacks: its evaluation, which follows the checkpoint, and its end."""
        started = time.monotonic()
        left = self.phases.unfinished(last_round)
        self.phases.assign_parts(last_round)
        if last_round not in result.evaluate_metrics_clientapp:
            self._evaluate_on_clients(last_round, result)
        if left is not None:
            self._complete(last_round, result, left.valid, left.seconds + time.monotonic() - started)

    def _complete(self, server_round: int, result: Result, valid: int, seconds: float) -> None:
        metrics = {f"{name}_metrics": values for name, values in round_metrics(result, server_round).items()}
        log(INFO, "round completed round=%d/%d valid=%d", server_round, self.config.num_rounds, valid)
        self._record("round_completed", server_round, valid=valid, seconds=seconds, **metrics)

    def _record(self, event: str, server_round: int, **fields: object) -> None:
        self.phases.record(event, round=server_round, rounds=self.config.num_rounds, **fields)

    # --- training ---------------------------------------------------------------------------------

    def _train_until_quorum(self, server_round: int, result: Result) -> int:
        """Try one round until enough updates are valid; return their number. The model changes only then."""
        for attempt in range(1, self.config.round_retries + 2):
            tried = self._attempt(server_round, result)
            if tried.reason is None:
                return tried.valid
            log(WARNING, "round failed round=%d attempt=%d reason=%s", server_round, attempt, tried.reason)
            self._record("round_failed", server_round, attempt=attempt, **asdict(tried))
            if attempt <= self.config.round_retries:
                self.phases.back_off(attempt)
        raise TrainingError(
            f"round {server_round} missed its quorum {attempt} times; the last time: {tried.reason}. "
            f"The model is that of round {server_round - 1}. Mend the clients that the log names as failed "
            f"or quarantined, or lower FL_MIN_FIT_CLIENTS (now {self.config.min_fit_clients}), "
            f"or raise FL_ROUND_RETRIES (now {self.config.round_retries})"
        )

    def _attempt(self, server_round: int, result: Result) -> Try:
        needed = max(self.config.min_available_clients, self.config.quorum)
        cohort = self.phases.gather_cohort(needed)
        if len(cohort) < needed:
            reason = f"{len(cohort)} clients connected, {needed} needed"
            return Try(reason=reason, valid=0, needed=needed)
        self.phases.assign_parts(server_round)
        self._record("round_started", server_round, clients=len(cohort))
        collected = self._collect_updates(server_round, result.arrays)
        valid, quorum = collected.valid, self.config.quorum_after(collected.quarantined)
        if len(valid) < quorum:
            reason = f"{len(valid)} valid updates, {quorum} needed"
            return Try(reason=reason, valid=len(valid), needed=quorum)
        self.strategy.leave_out(collected.quarantined)
        started = time.monotonic()
        arrays, metrics = self.strategy.aggregate_train(server_round, valid)
        if arrays is None:
            return Try(reason="the strategy gave no model", valid=len(valid), needed=quorum)
        seconds = time.monotonic() - started
        self._record("round_aggregated", server_round, valid=len(valid), seconds=seconds)
        result.arrays = arrays
        result.train_metrics_clientapp[server_round] = metrics or MetricRecord()
        return Try(reason=None, valid=len(valid), needed=quorum)

    def _collect_updates(self, server_round: int, arrays: ArrayRecord) -> Collected:
        config = self.phases.parts.into(self.train_config)
        messages = self.strategy.configure_train(server_round, arrays, config, self.phases.grid)
        schema = self.strategy.schema(arrays)
        collected = self.phases.collect(
            "train",
            server_round,
            messages,
            quorum=self.config.quorum_after,
            check=lambda message: self.strategy.check_reply(message, schema),
        )
        checked = self.strategy.check_together(collected.valid)
        for rejected in checked.rejected:
            self.phases.leave_out("client_quarantined", server_round, rejected.node_id, rejected.reason)
        return Collected(valid=checked.valid, quarantined=collected.quarantined + len(checked.rejected))

    # --- evaluation -------------------------------------------------------------------------------

    def _evaluate_centrally(self, server_round: int, result: Result) -> None:
        metrics = None if self.evaluate is None else self.evaluate(server_round, result.arrays)
        if metrics is not None:
            log(INFO, "central evaluation round=%d metrics=%s", server_round, dict(metrics))
            result.evaluate_metrics_serverapp[server_round] = metrics

    def _evaluate_on_clients(self, server_round: int, result: Result) -> None:
        """Evaluate on the clients; too few answers leave the round without these metrics, and say so."""
        cohort = self.phases.gather_cohort(self.config.min_evaluate_clients)
        if len(cohort) < self.config.min_evaluate_clients:
            log(WARNING, "evaluation skipped round=%d connected=%d", server_round, len(cohort))
            return
        config = self.phases.parts.into(self.evaluate_config)
        collected = self.phases.collect(
            "evaluate",
            server_round,
            self.strategy.configure_evaluate(server_round, result.arrays, config, self.phases.grid),
            quorum=lambda _: self.config.min_evaluate_clients,
            check=self.strategy.check_evaluation,
        )
        replies = collected.valid
        if len(replies) < self.config.min_evaluate_clients:
            log(WARNING, "evaluation without quorum round=%d valid=%d", server_round, len(replies))
            return
        metrics = self.strategy.aggregate_evaluate(server_round, replies)
        if metrics is not None:
            result.evaluate_metrics_clientapp[server_round] = metrics
