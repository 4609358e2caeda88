"""All strategies: the specs in `oneflower.aggregation.rules`, found by looking there."""

from importlib import import_module
from pkgutil import iter_modules

from oneflower.aggregation import rules
from oneflower.aggregation.parameter import AnyParameter
from oneflower.aggregation.spec import Family, StrategySpec
from oneflower.errors import SettingsError


def _find_specs() -> tuple[StrategySpec, ...]:
    """Return the `SPEC` of every module in the folder, by family and name."""
    modules = (import_module(f"{rules.__name__}.{found.name}") for found in iter_modules(rules.__path__))
    families = list(Family)
    return tuple(
        sorted((module.SPEC for module in modules), key=lambda spec: (families.index(spec.family), spec.name))
    )


SPECS = _find_specs()
"""In the order in which an operator is offered them."""

PARAMETERS: tuple[AnyParameter, ...] = tuple(
    dict.fromkeys(parameter for spec in SPECS for parameter in spec.parameters)
)
"""Every parameter once, those of the first strategies first."""


def spec_of(strategy: str) -> StrategySpec:
    """Return the spec of a strategy.

    Raises
    ------
    SettingsError
        There is no strategy of this name.
    """
    for spec in SPECS:
        if spec.name == strategy:
            return spec
    raise SettingsError(
        f"FL_STRATEGY is {strategy!r}; expected one of {', '.join(spec.name for spec in SPECS)}: "
        "set one of them"
    )


def readers(parameter: AnyParameter) -> tuple[StrategySpec, ...]:
    """Return the strategies that have a parameter."""
    return tuple(spec for spec in SPECS if parameter in spec.parameters)
