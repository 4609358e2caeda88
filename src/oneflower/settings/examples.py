"""The contexts in examples/strategies: one training a strategy, from its spec."""

from collections.abc import Mapping

from oneflower.aggregation import SPECS, StrategySpec
from oneflower.settings.context import render_context
from oneflower.settings.values import as_text


def example_contexts() -> Mapping[str, str]:
    """Return the text of every example by the name of its file."""
    return {f"{spec.name.lower()}.sh": example_context(spec) for spec in SPECS}


def example_context(spec: StrategySpec) -> str:
    """Return a context that trains the image app with a strategy, for five rounds."""
    clients = str(spec.example_clients)
    parameters = {each.variable: as_text(each.of(spec.example)) for each in spec.parameters}
    variables = {
        "FL_USE_CASE": "image-classification",
        "FL_STRATEGY": spec.name,
        **parameters,
        "FL_NUM_ROUNDS": "5",
        "FL_MIN_FIT_CLIENTS": clients,
        "FL_MIN_EVALUATE_CLIENTS": clients,
        "FL_MIN_AVAILABLE_CLIENTS": clients,
        "FL_CHECKPOINT_ENABLED": "YES",
        "FL_CHECKPOINT_INTERVAL": "1",
        "FL_SEED": "42",
    }
    name = spec.name.lower()
    return (
        f"# {spec.name}. {spec.summary}.\n"
        f"# {clients} nodes: oneflower up --context examples/strategies/{name}.sh --nodes {clients}\n"
        + render_context(variables)
    )
