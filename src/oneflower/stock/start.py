"""What replaces `Strategy.start`: the app's own strategy, or that of FL_STRATEGY, in oneflower's rounds."""

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, fields, replace
from logging import INFO
from typing import Any

from oneflower.flower.api import ArrayRecord, ConfigRecord, Context, Grid, MetricRecord, Result, log, strategy
from oneflower.flower.failures import named_path
from oneflower.flower.logs import log_through_flower
from oneflower.flower.outer_grid import round_grid
from oneflower.flower.parts import PARTS_VARIABLE, PartTable
from oneflower.flower.private_noise import new_key, seed_noise
from oneflower.flower.refusals import MB
from oneflower.flower.who import Roll
from oneflower.settings import APP_STRATEGY, TrainingConfig, training_config
from oneflower.stock.app_sampling import AppSampling, Seed, innermost
from oneflower.stock.app_state import AppState
from oneflower.stock.app_strategy import GROWING, AppStrategy, name_of
from oneflower.stock.effects import check_own_rule, refused_replacement, refused_root
from oneflower.stock.kept_state import KeptState
from oneflower.stock.nodes import Pins
from oneflower.stock.stable_ids import StableIds
from oneflower.training.driver import Driver
from oneflower.training.strategy import build_strategy
from oneflower.training.train import Work, conduct

EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The arguments of a `Strategy.start`, as the app gave them."""

    strategy: strategy.Strategy
    grid: Grid
    initial_arrays: ArrayRecord
    num_rounds: int = 3
    timeout: float = 3600
    train_config: ConfigRecord | None = None
    evaluate_config: ConfigRecord | None = None
    evaluate_fn: EvaluateFn | None = None


ARGUMENTS = frozenset(field.name for field in fields(Started)) - {"strategy"}
"""What `Strategy.start` takes, in every Flower."""


def run_started(started: Started, context: Context, seed: Seed) -> Result:
    """Train with what an app has started, and with the settings; see `oneflower.training.train`.

    What the operator did not set is the author's: the rounds, the timeout, the numbers of clients.
    """
    log_through_flower()
    config = _with_authors(started, training_config(context.run_config))
    grid = round_grid(started.grid, config.max_update_mb * MB)
    parts = PartTable(path=named_path(PARTS_VARIABLE))
    parts.look()
    configs = {
        "train_config": ConfigRecord() if started.train_config is None else started.train_config,
        "evaluate_config": ConfigRecord() if started.evaluate_config is None else started.evaluate_config,
        "private": ConfigRecord({"noise-key": new_key()}),  # clients never get it
    }
    pins: Pins = {}
    also: dict[str, MutableMapping[str, Any]] = {**configs, "nodes": pins}
    state = AppState(kept=KeptState(started.strategy, also=also, always=["private"]))
    noise = configs["private"]

    def seed_all(*parts: int | str) -> None:
        seed(*parts)
        seed_noise(str(noise["noise-key"]), *parts)

    roll = Roll(grid, parts=parts)
    sampling = AppSampling(
        inner=started.strategy,
        ids=StableIds(roll, pins),
        drawn=config.clients_per_round > 0,
        seed=seed_all,
        train_config=configs["train_config"],
        evaluate_config=configs["evaluate_config"],
    )
    return conduct(
        Work(
            grid=grid,
            context=context,
            config=config,
            strategy=_driver(started, config, sampling, state),
            arrays=started.initial_arrays,
            evaluate=started.evaluate_fn,
            parts=parts,
            roll=roll,
            replaces="" if config.strategy == APP_STRATEGY else name_of(started.strategy),
            train_config=configs["train_config"],
            evaluate_config=configs["evaluate_config"],
        )
    )


def _driver(started: Started, config: TrainingConfig, sampling: AppSampling, state: AppState) -> Driver:
    own = AppStrategy(
        inner=started.strategy,
        sampling=sampling,
        state=state,
        norm_bound=config.update_norm_bound,
        max_weight=config.max_client_weight,
    )
    if config.strategy == APP_STRATEGY:
        if own.has_own_rule:
            check_own_rule(config, own.name)
        return own
    if isinstance(innermost(started.strategy), GROWING):
        raise refused_replacement(config, name_of(started.strategy))
    if config.rule.needs_root:
        raise refused_root(config, name_of(started.strategy))
    log(
        INFO,
        "FL_STRATEGY=%s replaces the app's strategy %s; the app's chooses the clients, as it would",
        config.strategy,
        name_of(started.strategy),
    )
    return build_strategy(config, sampling=sampling, sampling_state=state, weighted_by=own.weighted_by)


def _with_authors(started: Started, config: TrainingConfig) -> TrainingConfig:
    """Return the settings with the app's own values in place of those that the operator did not set."""
    own = innermost(started.strategy)
    for share, drawn in (
        ("fraction_train", config.clients_per_round),
        ("fraction_evaluate", config.evaluate_clients_per_round),
    ):
        if drawn and getattr(own, share, 0):  # of the clients that were drawn it takes all; 0 takes none
            setattr(own, share, 1.0)
    values: dict[str, Any] = {}
    if not config.is_set("FL_NUM_ROUNDS"):
        values["num_rounds"] = max(0, int(started.num_rounds))  # 0 evaluates centrally, as in Flower
    if not config.is_set("FL_ROUND_TIMEOUT") and started.timeout and 1 <= started.timeout < 1e9:
        values["round_timeout"] = int(started.timeout)
    for field, attribute in _MINIMUMS.items():
        authors = getattr(own, attribute, None)
        if type(authors) is not int:
            continue
        if config.is_set(f"FL_{field.upper()}"):
            setattr(own, attribute, max(1, getattr(config, field)))
        elif field != "min_evaluate_clients" or config.min_evaluate_clients:
            values[field] = max(1, authors)
    return replace(config, **values)


_MINIMUMS = {
    "min_fit_clients": "min_train_nodes",
    "min_evaluate_clients": "min_evaluate_nodes",
    "min_available_clients": "min_available_nodes",
}
