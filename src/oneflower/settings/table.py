"""The table: every variable in the order of the forms, and what follows from its columns alone."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Final

from oneflower.settings.settings import Settings
from oneflower.settings.strategy_rows import STRATEGY_ROWS
from oneflower.settings.training import TrainingConfig
from oneflower.settings.values import Text64, Value
from oneflower.settings.variable import ROW, Consumer, Effect, Variable


def _rows() -> Iterator[Variable]:
    """Yield the row of each field, and the rows of the strategies in place of `parameters`."""
    in_run_config = {field.name for field in fields(TrainingConfig)}
    for field in fields(Settings):
        if field.name == "operator_set":
            continue
        rows = (field.metadata[ROW],) if ROW in field.metadata else STRATEGY_ROWS
        for row in rows:
            if not row.strategies and row.field != field.name:
                raise ValueError(f"{row.name} is the row of the field {field.name}: expected {row.field}")
            if row.travels != (field.name in in_run_config):
                raise ValueError(f"{row.name}: what is in the run-config is declared in TrainingConfig")
        yield from rows


TABLE: tuple[Variable, ...] = tuple(_rows())
BY_NAME: Mapping[str, Variable] = MappingProxyType({row.name: row for row in TABLE})
BY_KEY: Mapping[str, Variable] = MappingProxyType(
    {row.run_config_key: row for row in TABLE if row.run_config_key}
)
"""The variables in Flower's run-config, by their keys."""
PEM_VARIABLES: tuple[str, ...] = tuple(
    row.name for row in TABLE if isinstance(row.kind, Text64) and row.name.startswith("FL_SSL_")
)
"""The names of the CA certificate, the SuperLink's certificate and its key, in this order."""
NAMESPACE: Final = "oneflower"
"""The table of a packed app's run-config that holds oneflower's keys."""
OPERATOR_SET: Final = "operator-set"
"""The run-config key that names the variables that the operator set, separated by commas."""
APP_CONFIG_KEYS: Mapping[str, Value] = MappingProxyType(
    {**{key: row.default for key, row in BY_KEY.items()}, OPERATOR_SET: ""}
)
"""Every key with its default: what a packed app declares, because Flower refuses to set any other key."""


def strategy_rows(strategy: str) -> tuple[Variable, ...]:
    """Return the parameters of a strategy."""
    return tuple(row for row in STRATEGY_ROWS if strategy in row.strategies)


def key_of(field: str) -> str:
    """Return the run-config key of a field of TrainingConfig."""
    return next(key for key, row in BY_KEY.items() if row.field == field)


def read_by(consumers: Consumer) -> tuple[Variable, ...]:
    """Return the variables that one of `consumers` reads; the supervisor writes the run-config, too."""
    return tuple(
        row
        for row in TABLE
        if row.consumers & consumers or (row.travels and Consumer.SUPERVISOR in consumers)
    )


def keys_of(*effects: Effect) -> frozenset[str]:
    """Return the run-config keys of variables with one of these effects."""
    return frozenset(key for key, row in BY_KEY.items() if row.effect in effects)


GPU_VARIABLES: Final = tuple(
    f"FL_{field}" for field in ("GPU_ENABLED", "CUDA_VISIBLE_DEVICES", "GPU_MEMORY_FRACTION", "GPU_REQUIRED")
)
"""What a form asks for besides where SuperNodes have GPUs."""


def asked(
    variables: Iterable[Variable], *, all_inputs: bool = False, gpu: bool = False
) -> tuple[Variable, ...]:
    """Return the variables that a form asks for: the short form's, with those of GPUs or not, or all."""
    return tuple(
        variable
        for variable in variables
        if all_inputs or variable.in_form or (gpu and variable.name in GPU_VARIABLES)
    )


AUTHORS: Final = ("num_rounds", "seed", "min_fit_clients", "min_evaluate_clients", "min_available_clients")
"""They mean to an app what they mean to oneflower: its author decides where the operator does not."""


def form_default(variable: Variable) -> str:
    """Return what a form offers: nothing where an app's author may have decided, or the form would decide."""
    return "" if variable.field in AUTHORS else variable.default_text


def user_input(variable: Variable, *, offered: str | None = None) -> str:
    """Return the five parts of a USER_INPUTS string: ``O|number|Label||3``.

    Every variable is optional: OpenNebula applies no default, and the guest has its own. `offered` replaces
    what the form offers.
    """
    kind, choices = variable.kind.input_type, ",".join(variable.choices)
    default = form_default(variable) if offered is None else offered
    return f"O|{kind}|{variable.label}|{choices}|{default}"
