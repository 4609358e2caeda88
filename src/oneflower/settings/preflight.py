"""Which strategies hold their bound for the clients and the malicious ones that the operator expects."""

from collections.abc import Iterator

from oneflower.aggregation import NUM_MALICIOUS, SPECS, Family, StrategySpec, pre_aggregated, spec_of
from oneflower.settings.derived import Derived
from oneflower.settings.sources import Notice
from oneflower.settings.strategy_rows import APP_STRATEGY, rule_of
from oneflower.settings.use_cases import NO_USE_CASE
from oneflower.words import counted

FOR_UNEVEN_DATA = ("Robust", "MultiKrum")
"""In this order: the second costs less, and needs two more clients."""


def preflight(settings: Derived, clients: int) -> str:
    """Say which strategies withstand FL_NUM_MALICIOUS of so many clients, and whether the chosen one does.

    And which to choose for uneven data. Empty where FL_NUM_MALICIOUS is 0.
    """
    if not _malicious(settings):
        return ""
    names = holding(settings, clients)
    chosen = settings.strategy
    verdict = "is one of them" if chosen in names else f"is none of them: {_why_not(settings, clients)}"
    return (
        f"For {counted(clients, 'client')} ({settings.most_updates_by}) and f = {_malicious(settings)} "
        f"({NUM_MALICIOUS.variable}) these strategies hold their bound: {', '.join(names)}. "
        f"FL_STRATEGY={chosen} {verdict}. {_for_uneven_data(settings, names)}."
    )


def holding(settings: Derived, clients: int) -> tuple[str, ...]:
    """Return the robust strategies that withstand FL_NUM_MALICIOUS of so many clients."""
    rules = (spec for spec in SPECS if spec.family is Family.ROBUST)
    return tuple(spec.name for spec in rules if _withstood(spec, settings, clients) >= _malicious(settings))


def too_many_malicious(settings: Derived) -> Iterator[Notice]:
    """Warn where the operator expects more malicious clients than the chosen rule withstands."""
    clients, spec = settings.most_updates, spec_of(rule_of(settings.strategy))
    if spec.family is not Family.ROBUST:
        return  # FL_NUM_MALICIOUS is then said to be ignored
    names = holding(settings, clients)
    if spec.name not in names:
        yield Notice(
            level="warning",
            text=f"FL_STRATEGY={spec.name} withstands {_withstood(spec, settings, clients)} of "
            f"{counted(clients, 'client')}, and {NUM_MALICIOUS.variable} is {_malicious(settings)}; expected "
            f"one of {', '.join(names)} with it, or fewer malicious clients",
        )


def root_data(settings: Derived, use_case: str) -> Iterator[Notice]:
    """Say what a strategy with data of the server needs of an app that is not known here."""
    if settings.rule.needs_root and use_case == NO_USE_CASE:
        yield Notice(
            level="info",
            text=f"FL_STRATEGY is {settings.strategy}: the app must train on data of the server, by "
            "train(root_update=...) of oneflower.sdk; one that does not is refused when it starts",
        )


def _malicious(settings: Derived) -> int:
    return int(settings.parameters[NUM_MALICIOUS.name])


def _rule(spec: StrategySpec, settings: Derived) -> tuple[StrategySpec, dict[str, float]]:
    values = {parameter.name: settings.parameters[parameter.name] for parameter in spec.parameters}
    return pre_aggregated(spec, settings.pre_aggregation), values


def _withstood(spec: StrategySpec, settings: Derived, clients: int) -> int:
    rule, values = _rule(spec, settings)
    return rule.withstands(values, clients) if clients >= rule.minimum_updates(values) else 0


def _why_not(settings: Derived, clients: int) -> str:
    if settings.strategy == APP_STRATEGY:
        return f"{NUM_MALICIOUS.variable} does not reach the app's own strategy"
    spec = spec_of(settings.strategy)
    if spec.family is not Family.ROBUST:
        return "one client can move its mean"
    rule, values = _rule(spec, settings)
    if clients < (needed := rule.minimum_updates(values)):
        return f"it needs {counted(needed, 'client')} ({rule.bound})"
    return f"it withstands {rule.withstands(values, clients)}"


def _for_uneven_data(settings: Derived, names: tuple[str, ...]) -> str:
    best, cheaper = FOR_UNEVEN_DATA
    if best not in names:
        rule, values = _rule(spec_of(best), settings)
        return f"For uneven data choose {best}, with {rule.minimum_updates(values)} clients ({rule.bound})"
    return f"For uneven data choose {best}" + (
        f", or {cheaper}, which costs less" if cheaper in names else ""
    )
