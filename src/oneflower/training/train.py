"""What an app's `@app.main()` calls: strategy, checkpoints, resume and quorum, all from the run-config."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from logging import INFO, WARNING
from typing import Any

from oneflower.errors import OneflowerError
from oneflower.flower.api import ArrayRecord, ConfigRecord, Context, Grid, Result, log
from oneflower.flower.failures import facts_of, named_path, open_journal, tell_known
from oneflower.flower.grid import RoundGrid
from oneflower.flower.logs import log_through_flower
from oneflower.flower.memory import return_freed_memory
from oneflower.flower.outer_grid import round_grid
from oneflower.flower.parts import PARTS_VARIABLE, PartTable
from oneflower.flower.records import array_views, bytes_of
from oneflower.flower.refusals import MB
from oneflower.flower.who import Roll
from oneflower.journal import LAST_WORDS_S
from oneflower.journal.events import TrainingFinished, TrainingResumed, TrainingStarted, TrainingWentBack
from oneflower.settings import (
    STRATEGY,
    TrainingConfig,
    require_sample,
    rule_of,
    training_config,
    without_operational,
)
from oneflower.training.asking import Prepare, ask_clients
from oneflower.training.checkpoint_keeping import CheckpointKeeper
from oneflower.training.controls import Controls
from oneflower.training.defaults import warn_of_defaults
from oneflower.training.draw import Sampler
from oneflower.training.driver import Driver
from oneflower.training.history import new_result
from oneflower.training.initial_model import with_initial_model
from oneflower.training.kept import Kept
from oneflower.training.phases import Phases
from oneflower.training.remarks import Remarks
from oneflower.training.resources import known_clients, tell_resources
from oneflower.training.rounds import Ending, EvaluateFn, RoundLoop
from oneflower.training.start import EVALUATED, BadModelError
from oneflower.training.stopping import Stopping, stop_rule
from oneflower.training.strategy import RootUpdate, build_strategy
from oneflower.training.streaming import begin_streaming


def train(  # noqa: PLR0913 what Flower hands over, the model, and options
    grid: Grid,
    context: Context,
    arrays: ArrayRecord,
    evaluate: EvaluateFn | None = None,
    *,
    train_config: Mapping[str, int | float | str | bool] | None = None,
    evaluate_config: Mapping[str, int | float | str | bool] | None = None,
    prepare: Prepare | None = None,
    versions: Mapping[str, str] | None = None,
    root_update: RootUpdate | None = None,
) -> Result:
    """Train as the run-config says, from the newest checkpoint where there is one.

    Parameters
    ----------
    grid, context
        What Flower hands to `@app.main()`.
    arrays : ArrayRecord
        The model before round 1. It is replaced by the checkpoint's on a resume, and must be of its form.
    evaluate : callable, optional
        Central evaluation, (round, arrays) to metrics by name: before round 1 and after every round.
    train_config, evaluate_config : mapping, optional
        What every message to the clients carries besides `server-round`, `seed` and the strategy's own keys.
    prepare : callable, optional
        Asks the clients before round 1 and gives the model of round 0, (arrays, ask) to arrays; not called on
        a resume, because the checkpoint holds what came of it.
    versions : mapping, optional
        What else the model is made with, such as a base model's hash: kept in every checkpoint's manifest; a
        resume with another value is refused.
    root_update : callable, optional
        Trains the model that the clients were sent on data of the server's, (round, arrays) to arrays, for
        FL_STRATEGY=FLTrust; called in each round, and to the same arrays for the same round and model.

    Returns
    -------
    Result
        Flower's own: the final arrays, and metrics by true round number, those before a resume too.

    Raises
    ------
    SettingsError
        A run-config value is wrong, or does not fit the training that the checkpoint folder holds.
    CheckpointError, StateError
        The checkpoint folder cannot be used, its newest checkpoint is of another model, or the last round
        could not be saved.
    TrainingError
        A round missed its quorum too often.
    AppError
        The central evaluation returned what is no metric, or every client had the same fault twice.
    """
    log_through_flower()
    config = _of_this_app(training_config(context.run_config))
    warn_of_defaults(context.run_config)
    return conduct(
        Work(
            grid=round_grid(grid, config.max_update_mb * MB),
            context=context,
            config=config,
            strategy=build_strategy(config, root_update=root_update),
            arrays=arrays,
            evaluate=evaluate,
            train_config=ConfigRecord({"seed": config.seed, **(train_config or {})}),
            evaluate_config=ConfigRecord({"seed": config.seed, **(evaluate_config or {})}),
            prepare=prepare,
            versions=versions,
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one training is made of: what the app gives, and what the settings say.

    `replaces` names the app's own strategy where FL_STRATEGY stands in its place. `roll` asks the clients who
    they are; None for a new one.
    """

    grid: RoundGrid
    context: Context
    config: TrainingConfig
    strategy: Driver
    arrays: ArrayRecord
    evaluate: EvaluateFn | None
    train_config: ConfigRecord
    evaluate_config: ConfigRecord
    prepare: Prepare | None = None
    versions: Mapping[str, str] | None = None
    replaces: str = ""
    roll: Roll | None = None
    parts: PartTable = field(default_factory=lambda: PartTable(path=named_path(PARTS_VARIABLE)))


def conduct(work: Work) -> Result:
    """Run a training from the newest checkpoint to its end; see `train`."""
    config, context = work.config, work.context
    require_sample(config)
    journal = open_journal(config, context.run_id)
    app = str(work.grid.run.fab_id) or config.use_case
    rule = stop_rule(config, evaluates=work.evaluate is not None)
    with CheckpointKeeper(
        config,
        strategy=work.strategy.name,
        app=app,
        journal=journal,
        versions=work.versions,
        settings=_decisive(context.run_config, config.strategy),
    ) as keeper:
        phases = Phases(
            grid=work.grid,
            journal=journal,
            round_timeout_s=config.round_timeout,
            parts=work.parts,
            controls=Controls.of(config, keeper),
            sampler=_sampler(work),
            deadline_s=config.round_deadline,
        )
        loop = RoundLoop(
            config=config,
            strategy=work.strategy,
            phases=phases,
            keeper=keeper,
            evaluate=work.evaluate,
            train_config=work.train_config,
            evaluate_config=work.evaluate_config,
            stopping=Stopping(rule),
            remarks=Remarks(config=config, phases=phases, notes=keeper.notes),
        )
        return _run(loop, work, app)


def _sampler(work: Work) -> Sampler | None:
    """Return what draws the clients of a phase; None where all clients take part in both."""
    config = work.config
    if not (config.clients_per_round or config.evaluate_clients_per_round):
        return None
    return Sampler(seed=config.seed, roll=work.roll or Roll(work.grid, parts=work.parts))


def _of_this_app(config: TrainingConfig) -> TrainingConfig:
    """Return what FL_STRATEGY=app means for an app that builds no strategy: FedAvg."""
    return replace(config, strategy=rule_of(config.strategy))


def _decisive(run_config: Mapping[str, object], strategy: str) -> dict[str, object]:
    """Return what decides the model, the app's own keys and the number of clients among them."""
    clients = known_clients()
    return {
        **without_operational(run_config),
        STRATEGY: strategy,
        **({} if clients is None else {"clients": clients}),
    }


def _run(loop: RoundLoop, work: Work, app: str) -> Result:
    """Restore, run the rounds, and write how the training began and ended."""
    config, phases, prepare = loop.config, loop.phases, work.prepare
    facts = {**facts_of(config), "strategy": loop.strategy.name, "app": app}
    done, bad, ending = 0, None, None
    try:
        while ending is None:
            return_freed_memory(bytes_of(work.arrays))
            result = new_result(work.arrays)
            start = loop.keeper.restore(result) if bad is None else loop.keeper.go_back(bad.round, result)
            done = start.round
            phases.controls.begin(done)
            loop.strategy.load_state(start.state, array_views(result.arrays))
            start = replace(start, state={})  # the strategy has its own copy
            if bad is None:
                _announce(loop, facts, done, work.replaces)
            else:
                _tell_gone_back(loop, bad, done)
            if done == 0:
                result.arrays = with_initial_model(config, result.arrays, loop.keeper.notes)
            if done == 0 and prepare is not None:
                result.arrays = prepare(result.arrays, partial(ask_clients, phases, config))
            notes, model = loop.keeper.notes, array_views(result.arrays)
            streams = begin_streaming(
                config, loop.strategy.stream, work.arrays, work.grid, notes=notes, done=done
            )
            tell_resources(config, model, phases, done=done, streams=streams)
            del model
            try:
                ending = loop.run(
                    result,
                    done,
                    more_rounds=0 < start.total_rounds < config.num_rounds,
                    evaluated=start.notes.get(EVALUATED) == done,
                )
            except BadModelError as error:
                bad, loop = error, replace(loop, stopping=Stopping(loop.stopping.rule))
        done = ending.round
        kept = loop.keeper.finish(ending.round, result, loop.strategy, phases.back_off)
    except OneflowerError as error:
        tell_known(phases.journal, error, round=done, **facts)
        raise
    _tell_finished(loop, ending, kept, facts)
    if phases.journal is not None:
        phases.journal.flush(patience_s=LAST_WORDS_S)
    return result


def _tell_finished(loop: RoundLoop, ending: Ending, kept: Kept, facts: Mapping[str, Any]) -> None:
    """Say that the training is done: what is told of the model is what the store has proven."""
    stop = ending.stop
    log(INFO, "training finished round=%d sha256=%s path=%s", kept.round, kept.sha256, kept.path or "-")
    if kept.path is None:
        log(WARNING, "the model was not kept: FL_CHECKPOINT_ENABLED is NO")
    loop.phases.record(
        TrainingFinished(
            round=kept.round,
            sha256=kept.sha256,
            path=None if kept.path is None else str(kept.path),
            stopped=None if stop is None else stop.reason,
            because=None if stop is None else stop.because,
            **facts,
        )
    )


def _announce(loop: RoundLoop, facts: Mapping[str, Any], done: int, replaces: str) -> None:
    """Say what is about to be trained, and with what, before the first round."""
    config = loop.config
    loop.strategy.summary()
    if done >= config.num_rounds:
        log(INFO, "training is complete already round=%d rounds=%d", done, config.num_rounds)
    elif done:
        log(INFO, "training resumed after round=%d rounds=%d", done, config.num_rounds)
    elif not config.checkpoint_enabled:
        log(
            WARNING,
            "checkpointing is off: a crash starts this training from round 1. "
            "Set FL_CHECKPOINT_ENABLED=YES to go on from the newest checkpoint instead",
        )
    begun = TrainingResumed if done else TrainingStarted
    loop.phases.record(begun(round=done, replaces=replaces, **facts))
    if 0 < done < config.num_rounds:
        loop.remarks.client_state_lost(done)
        loop.phases.devices.resumed(loop.keeper.notes)


def _tell_gone_back(loop: RoundLoop, bad: BadModelError, done: int) -> None:
    """Say that the model of a round is not used, and from which round the training goes on."""
    log(WARNING, "training went back from round=%d to round=%d reason=%s", bad.round, done, bad.reason)
    loop.phases.record(
        TrainingWentBack(round=bad.round, to=done, rounds=loop.config.num_rounds, reason=bad.reason)
    )
