"""The run-config, typed where it enters: an app's own keys (option) and oneflower's (training_config)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from oneflower.errors import AppError
from oneflower.settings import training_config

__all__ = ["LocalOptions", "option", "training_config"]

T = TypeVar("T", bool, int, float, str)


def option(
    run_config: Mapping[str, object],
    key: str,
    default: T,
    *,
    at_least: float | None = None,
    choices: tuple[str, ...] = (),
) -> T:
    """Read one key of the run-config with the type of its default.

    An integer is taken where a float is expected; nothing else is converted.

    Raises
    ------
    AppError
        The value has another type, lies under `at_least` (nan does too), or is none of `choices`.
    """
    value = run_config.get(key, default)
    expected = type(default)
    if expected is float and type(value) is int:
        value = float(value)
    if type(value) is not expected:
        raise AppError(_refusal(key, value, f"a {expected.__name__} such as {default!r}"))
    if at_least is not None and isinstance(value, (int, float)) and not value >= at_least:
        raise AppError(_refusal(key, value, f"a number of at least {at_least:g}"))
    if choices and value not in choices:
        raise AppError(_refusal(key, value, " or ".join(choices)))
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """Local training: epochs a round, rows a step, learning rate where the server sends none."""

    epochs: int
    batch_size: int
    lr: float

    def from_run_config(self, run_config: Mapping[str, object], *, least_rows: int = 1) -> "LocalOptions":
        """Read `local-epochs`, `batch-size` (from `least_rows`) and `learning-rate`, with these defaults."""
        return LocalOptions(
            epochs=option(run_config, "local-epochs", self.epochs, at_least=1),
            batch_size=option(run_config, "batch-size", self.batch_size, at_least=least_rows),
            lr=option(run_config, "learning-rate", self.lr, at_least=1e-9),
        )


def _refusal(key: str, value: object, expected: str) -> str:
    return (
        f"the app's key {key} is {value!r}; expected {expected}. "
        f"Set it in FL_APP_CONFIG, or in [tool.flwr.app.config] of the app's pyproject.toml"
    )
