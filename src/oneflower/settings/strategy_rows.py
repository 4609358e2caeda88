"""The strategies, and a row for each of their parameters, from the specs of `oneflower.aggregation`."""

from typing import Final

from oneflower.aggregation import NUM_MALICIOUS, PARAMETERS, SPECS, AnyParameter, StrategySpec, readers
from oneflower.settings.values import Decimal, Integer
from oneflower.settings.variable import Variable, strategy_variable

STRATEGIES = tuple(spec.name for spec in SPECS)
APP_STRATEGY: Final = "app"
"""FL_STRATEGY of the strategy that the app builds itself; an app that builds none trains with FedAvg."""
_OF_ITSELF: Final = "FedAvg"


def rule_of(strategy: str) -> str:
    """Return the name of the spec whose bounds hold for a value of FL_STRATEGY."""
    return _OF_ITSELF if strategy == APP_STRATEGY else strategy


def _row(parameter: AnyParameter) -> Variable:
    """Return the row of a parameter; it says which strategies have it."""
    specs = readers(parameter)
    label, help_ = f"{parameter.label} ({_owners(specs)})", _help(parameter, specs)
    strategies = tuple(spec.name for spec in specs)
    low, high, default = parameter.minimum, parameter.maximum, parameter.default
    if isinstance(default, int):
        whole = Integer(minimum=int(low), maximum=None if high is None else int(high), unit=parameter.unit)
        return strategy_variable(
            parameter.variable, kind=whole, default=default, label=label, help=help_, strategies=strategies
        )
    kind = Decimal(minimum=low, maximum=high, exclusive=parameter.exclusive)
    return strategy_variable(
        parameter.variable, kind=kind, default=default, label=label, help=help_, strategies=strategies
    )


def _owners(specs: tuple[StrategySpec, ...]) -> str:
    """Return whose parameter it is, in a few words: a form has no room for the names of many strategies."""
    if len(specs) <= 2:
        return "/".join(spec.name for spec in specs)
    return " and ".join(dict.fromkeys(f"{spec.family}s" for spec in specs))


def _help(parameter: AnyParameter, specs: tuple[StrategySpec, ...]) -> str:
    if parameter is NUM_MALICIOUS:
        return f"{parameter.help}; clients needed: {', '.join(f'{spec.name} {spec.bound}' for spec in specs)}"
    return parameter.help if len(specs) <= 2 else f"{parameter.help} ({', '.join(s.name for s in specs)})"


STRATEGY_ROWS = tuple(_row(parameter) for parameter in PARAMETERS)


def default_parameters() -> dict[str, float]:
    """Return the default of each parameter by the field of its row."""
    return {row.field: row.kind.check(row.default) for row in STRATEGY_ROWS}
