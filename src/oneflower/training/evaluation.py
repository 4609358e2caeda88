"""The evaluation of a round's model on the clients, which follows its checkpoint."""

from logging import WARNING
from typing import Protocol

from oneflower.aggregation import check_together
from oneflower.codes import Task
from oneflower.flower.api import ConfigRecord, Result, log
from oneflower.journal.events import ClientQuarantined
from oneflower.settings import TrainingConfig
from oneflower.training.blame import lacks_evaluate
from oneflower.training.driver import Driver
from oneflower.training.gathering import asked_of_draw, draw_clients
from oneflower.training.history import clients_decide
from oneflower.training.phases import Phases
from oneflower.training.remarks import Remarks


class Evaluating(Protocol):
    """What the evaluation needs of the round loop."""

    @property
    def config(self) -> TrainingConfig: ...  # noqa: D102 - see `RoundLoop`
    @property
    def strategy(self) -> Driver: ...  # noqa: D102
    @property
    def phases(self) -> Phases: ...  # noqa: D102
    @property
    def remarks(self) -> Remarks: ...  # noqa: D102
    @property
    def evaluate_config(self) -> ConfigRecord: ...  # noqa: D102


def evaluate_on_clients(loop: Evaluating, server_round: int, result: Result) -> None:
    """Evaluate on the clients; too few answers leave the round without these metrics, and say so."""
    if loop.config.min_evaluate_clients == 0 or loop.remarks.no_evaluate:
        return
    phases, drawn = loop.phases, loop.config.evaluate_clients_per_round
    least = loop.config.min_available_clients if drawn else 0  # who draws needs all to draw from
    cohort = phases.gather_cohort(max(least, loop.config.min_evaluate_clients))
    if len(cohort) < loop.config.min_evaluate_clients:
        log(WARNING, "evaluation skipped round=%d connected=%d", server_round, len(cohort))
        return
    draw = draw_clients(loop, cohort, server_round, Task.EVALUATE)
    config = phases.parts.into(loop.evaluate_config)
    messages = list(loop.strategy.configure_evaluate(server_round, result.arrays, config, phases.grid))
    needed = min(loop.config.min_evaluate_clients, len(messages))
    if not messages:  # the app's strategy evaluates on no client in this round
        return
    collected = phases.collect(
        "evaluate",
        server_round,
        messages,
        quorum=lambda _: needed,
        parse=loop.strategy.evaluation_parser(),
        draw=asked_of_draw(phases, draw, server_round, Task.EVALUATE, messages),
    )
    alone = collected.asked == 1 < len(cohort)  # what one of several says proves nothing
    if not collected.valid and not alone and lacks_evaluate(collected.raised):
        loop.remarks.no_evaluation(server_round)
        return
    odd = loop.strategy.odd(collected.valid)
    for client, error in odd.items():
        phases.leave_out(ClientQuarantined, server_round, client, error.code, str(error))
    valid = [update for update in collected.valid if update.client not in odd]
    checked = check_together(valid, loop.strategy.max_weight)
    for remark in checked.remarks:
        log(WARNING, "evaluation bounded client=%d reason=%s", remark.client, remark.reason)
    if len(valid) < needed:
        log(WARNING, "evaluation without quorum round=%d valid=%d", server_round, len(valid))
        return
    if checked.valid:
        decide = clients_decide(result, loop.config.quality)
        metrics = loop.strategy.aggregate_evaluation(server_round, checked.valid, clients_decide=decide)
        if metrics is not None:
            result.evaluate_metrics_clientapp[server_round] = metrics
