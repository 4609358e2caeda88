"""What a pre-built app asks of other variables: its framework, and its own strategy."""

from collections.abc import Iterator, Mapping

from oneflower.settings.strategy_rows import APP_STRATEGY
from oneflower.settings.use_cases import (
    ANY_FRAMEWORK,
    NO_USE_CASE,
    contradicts,
    framework_of,
    own_strategy,
)
from oneflower.settings.values import Value


def of_the_app(values: Mapping[str, Value]) -> Iterator[str]:
    """Yield what contradicts the app of FL_USE_CASE."""
    yield from _framework(values)
    yield from _strategy(values)
    yield from _two_apps(values)


def fits(values: Mapping[str, Value]) -> bool:
    """Whether app and framework are valid, each on its own and together."""
    return {"use_case", "ml_framework"} <= values.keys() and not any(_framework(values))


def _framework(values: Mapping[str, Value]) -> Iterator[str]:
    app, framework = str(values.get("use_case", NO_USE_CASE)), str(values.get("ml_framework", ANY_FRAMEWORK))
    if contradicts(app, framework):
        needed = framework_of(app, framework)
        yield (
            f"FL_USE_CASE is {app!r} and ML_FRAMEWORK is {framework!r}: that app is written in {needed}; "
            f"expected the framework of the app; write ML_FRAMEWORK='{needed}'"
        )


def _strategy(values: Mapping[str, Value]) -> Iterator[str]:
    app, strategy = str(values.get("use_case", NO_USE_CASE)), values.get("strategy", APP_STRATEGY)
    if (own := own_strategy(app)) and strategy != APP_STRATEGY:
        yield (
            f"FL_USE_CASE is {app!r} and FL_STRATEGY is {strategy!r}: only the app's own strategy, {own}, "
            f"can combine its model; expected FL_STRATEGY='{APP_STRATEGY}'"
        )


def _two_apps(values: Mapping[str, Value]) -> Iterator[str]:
    app, use_case = values.get("app"), values.get("use_case")
    if app and use_case not in (None, NO_USE_CASE):
        yield (
            f"FL_APP is {app!r} and FL_USE_CASE is {use_case!r}: one SuperLink trains one app; expected one "
            f"of them; write FL_USE_CASE='{NO_USE_CASE}' to train FL_APP, or leave FL_APP empty"
        )
