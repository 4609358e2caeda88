"""Settings that the operator set and that have no effect on this app: an error where safety was asked for."""

from collections.abc import Iterable
from logging import INFO, WARNING

from oneflower.aggregation import Family, spec_of
from oneflower.errors import SettingsError
from oneflower.flower.api import Message, log
from oneflower.settings import APP_STRATEGY, ROUNDS, TrainingConfig
from oneflower.settings.strategy_rows import STRATEGY_ROWS

_BOUNDS = ("FL_UPDATE_NORM_BOUND", "FL_MAX_CLIENT_WEIGHT")
_OF_ROUNDS = (
    "FL_STRATEGY",
    "FL_MIN_FIT_CLIENTS",
    "FL_MIN_EVALUATE_CLIENTS",
    "FL_MIN_AVAILABLE_CLIENTS",
    "FL_CLIENTS_PER_ROUND",
    "FL_EVALUATE_CLIENTS_PER_ROUND",
    "FL_OVERSAMPLING",
    "FL_ROUND_DEADLINE",
    "FL_ROUND_RETRIES",
    "FL_CHECKPOINT_INTERVAL",
    "FL_CHECKPOINT_KEEP",
    "FL_INITIAL_MODEL",
    "FL_BEST_METRIC",
    "FL_EARLY_STOP_ROUNDS",
    "FL_EARLY_STOP_DELTA",
    "FL_TARGET_METRIC_VALUE",
)
_TRAIN = "train"


def check_own_loop(config: TrainingConfig, messages: Iterable[Message]) -> None:
    """Refuse to train in an app's own loop where a rule was asked for that it does not run.

    Raises
    ------
    SettingsError
        FL_STRATEGY names a robust rule, or a bound of the updates is set: nothing would bound them here.
    """
    if any(each.metadata.message_type.partition(".")[0] == _TRAIN for each in messages):
        check_own_training(config)


def check_own_training(config: TrainingConfig) -> None:
    """Refuse to train by a rule of the app's own where another was asked for; see `check_own_loop`."""
    asked = safety_asked(config)
    if asked:
        raise SettingsError(
            f"{', '.join(asked)} would have no effect: the app sends its training messages itself and "
            "combines the replies by a rule of its own. Remove the setting, or have the app start a strategy "
            "with Flower's `strategy.start`: then FL_STRATEGY replaces it"
        )


def safety_asked(config: TrainingConfig) -> list[str]:
    """Return the settings, with their values, without which no update may reach the model."""
    return [*_robust(config), *_bounds(config)]


def warn_own_loop(config: TrainingConfig) -> None:
    """Log, once, which settings that were set have no effect on an app's own loop."""
    names = [name for name in (*_OF_ROUNDS, *(row.name for row in STRATEGY_ROWS)) if config.is_set(name)]
    if config.resume_round is not None:
        names.append(f"FL_RESUME={config.resume} (a recording is repeated as a whole; never starts it again)")
    if config.is_set("FL_NUM_ROUNDS"):
        log(INFO, "FL_NUM_ROUNDS has an effect where the app reads the run-config key %s only", ROUNDS)
    if names:
        log(WARNING, "no effect on an app that sends its messages itself: %s", ", ".join(names))


def check_own_rule(config: TrainingConfig, name: str) -> None:
    """Refuse a bound of the updates for a rule of the app's own, which is not known to average them.

    Raises
    ------
    SettingsError
        FL_UPDATE_NORM_BOUND or FL_MAX_CLIENT_WEIGHT is set.
    """
    asked = list(_bounds(config))
    if asked:
        raise SettingsError(
            f"{', '.join(asked)} would have no effect: the app's strategy {name} combines the updates by a "
            "rule of its own. Remove the setting, or set FL_STRATEGY, which replaces the app's strategy"
        )


def refused_replacement(config: TrainingConfig, name: str) -> SettingsError:
    """Return why FL_STRATEGY cannot replace a strategy of trees: a rule of oneflower needs one form."""
    return SettingsError(
        f"FL_STRATEGY={config.strategy} cannot combine the model of this app: it starts {name}, whose trees "
        f"change in number and size. Remove FL_STRATEGY, or set FL_STRATEGY={APP_STRATEGY}"
    )


def refused_root(config: TrainingConfig, name: str) -> SettingsError:
    """Return why a rule that needs an update of the server's own cannot replace an app's strategy."""
    return SettingsError(
        f"FL_STRATEGY={config.strategy} cannot replace the strategy {name} that this app starts: it compares "
        "each update with the app's own training on data of the server, and Flower's `strategy.start` has no "
        "place for that. Choose another strategy, such as FL_STRATEGY=Robust, or have the app call "
        "oneflower.sdk.train(root_update=...)"
    )


def _robust(config: TrainingConfig) -> Iterable[str]:
    if config.strategy != APP_STRATEGY and spec_of(config.strategy).family is Family.ROBUST:
        yield f"FL_STRATEGY={config.strategy}"


def _bounds(config: TrainingConfig) -> Iterable[str]:
    values = (config.update_norm_bound, config.max_client_weight)
    for name, value in zip(_BOUNDS, values, strict=True):
        if value and config.is_set(name):
            yield f"{name}={value:g}"
