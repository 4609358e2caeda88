"""Enough clients must be drawn for a round: its quorum, and the bound of its strategy."""

from collections.abc import Iterator, Mapping

from oneflower.aggregation import pre_aggregated, spec_of
from oneflower.errors import SettingsError
from oneflower.settings.sources import Notice
from oneflower.settings.strategy_rows import rule_of
from oneflower.settings.training import TrainingConfig
from oneflower.settings.values import Value
from oneflower.words import counted

_READ = (
    "clients_per_round",
    "evaluate_clients_per_round",
    "min_fit_clients",
    "min_evaluate_clients",
    "strategy",
    "pre_aggregation",
)


def of_the_sample(values: Mapping[str, Value]) -> Iterator[str]:
    """Yield why a round that draws so few clients can never pass; `values` are those valid on their own."""
    if all(name in values for name in _READ):
        drawn, evaluating, fit, evaluate = (int(values[name]) for name in _READ[:4])
        yield from _problems(drawn, evaluating, fit, evaluate)
        yield from _bound(drawn, str(values["strategy"]), str(values["pre_aggregation"]), values)


def require_sample(config: TrainingConfig) -> None:
    """Refuse a training whose rounds can never pass, also where the author of the app chose the minimums.

    Raises
    ------
    SettingsError
        A round draws fewer clients than it needs valid updates, or evaluations.
    """
    drawn, evaluating = config.clients_per_round, config.evaluate_clients_per_round
    problems = [
        *_problems(drawn, evaluating, config.min_fit_clients, config.min_evaluate_clients),
        *_bound(drawn, config.strategy, config.pre_aggregation, config.parameters),
    ]
    if problems:
        raise SettingsError("\n".join(problems))


def _problems(drawn: int, evaluating: int, fit: int, evaluate: int) -> Iterator[str]:
    for name, number, minimum, needed, what in (
        ("FL_CLIENTS_PER_ROUND", drawn, "FL_MIN_FIT_CLIENTS", fit, "updates"),
        ("FL_EVALUATE_CLIENTS_PER_ROUND", evaluating, "FL_MIN_EVALUATE_CLIENTS", evaluate, "evaluations"),
    ):
        if 0 < number < needed:
            give = f"{counted(number, 'client')} never {'gives' if number == 1 else 'give'} {needed} {what}"
            yield (
                f"{name} is {number} and {minimum} is {needed}: {give}; expected {name}={needed} or more, or "
                f"0 for all clients; or set {minimum}={number}"
            )


def _bound(
    drawn: int, strategy: str, pre_aggregation: str, values: Mapping[str, Value] | Mapping[str, float]
) -> Iterator[str]:
    spec = spec_of(rule_of(strategy))
    if not drawn or any(parameter.name not in values for parameter in spec.parameters):
        return
    rule = pre_aggregated(spec, pre_aggregation)
    needed = rule.minimum_updates({each.name: float(values[each.name]) for each in spec.parameters})
    if drawn < needed:
        given = "".join(f", {each.variable}={values[each.name]}" for each in spec.parameters)
        yield (
            f"FL_CLIENTS_PER_ROUND is {drawn}, and FL_STRATEGY={strategy}{given} needs {needed} clients in a "
            f"round ({rule.bound}): expected FL_CLIENTS_PER_ROUND={needed} or more, or 0 for all clients; or "
            "choose another strategy"
        )


def sample_advice(settings: TrainingConfig) -> Iterator[Notice]:
    """Yield what is valid of a sample, and probably not intended."""
    drawn, available = settings.clients_per_round, settings.min_available_clients
    if drawn and available <= drawn:
        yield Notice(
            level="info",
            text=f"FL_CLIENTS_PER_ROUND is {drawn} and FL_MIN_AVAILABLE_CLIENTS is {available}: a round "
            "draws from the clients that are connected when it starts. oneflower up and simulate wait for "
            "all of theirs; elsewhere set FL_MIN_AVAILABLE_CLIENTS to the number of clients, so that a "
            "training that resumes draws the same ones",
        )
    if settings.oversampling and not drawn:
        yield Notice(level="info", text="FL_OVERSAMPLING has no effect: FL_CLIENTS_PER_ROUND is 0")
    if settings.oversampling and drawn and not settings.round_deadline:
        yield Notice(
            level="info",
            text=f"FL_OVERSAMPLING is {settings.oversampling:g} and FL_ROUND_DEADLINE is 0: a client that is "
            "late is waited for as long as without it; set FL_ROUND_DEADLINE to the seconds that a round "
            "may wait after its quorum",
        )
    if settings.evaluate_clients_per_round and not settings.min_evaluate_clients:
        yield Notice(
            level="info",
            text="FL_EVALUATE_CLIENTS_PER_ROUND has no effect: FL_MIN_EVALUATE_CLIENTS is 0, so that no "
            "client evaluates",
        )
