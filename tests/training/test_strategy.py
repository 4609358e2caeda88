"""What the driver sends, keeps, and says of a strategy."""

import logging

import numpy as np
import pytest
from flwr.common import ConfigRecord, RecordDict

from oneflower.aggregation import SPECS, spec_of
from oneflower.errors import CheckpointError
from oneflower.settings import training_config
from oneflower.training.strategy import build_strategy

from ..flower_side import NodeGrid
from .clients import NAMES, model, ours, record, root_training

every = pytest.mark.parametrize("name", NAMES)


def built(name, **run_config):
    keys = {key.replace("_", "-"): value for key, value in run_config.items()}
    return build_strategy(training_config({"strategy": name, **keys}), root_update=root_training)


def logged(action):
    lines = []

    class Lines(logging.Handler):
        def emit(self, entry):
            lines.append(entry.getMessage())

    handler = Lines()
    logging.getLogger("flwr").addHandler(handler)
    try:
        action()
    finally:
        logging.getLogger("flwr").removeHandler(handler)
    return lines


@every
def test_parameters_come_from_the_settings_and_are_logged_by_name(name):
    values = spec_of(name).example
    strategy = built(name, **values)
    assert strategy.spec is spec_of(name)
    assert strategy.values == values
    text = "\n".join(logged(strategy.summary))
    assert f"Strategy: {name}" in text
    assert f"minimum valid updates: {strategy.spec.minimum_updates(values)}" in text
    for parameter in strategy.spec.parameters:
        assert f"{parameter.key}: {values[parameter.name]}" in text


@every
def test_minimums_are_the_settings_and_never_below_the_rules_bound(name):
    strategy = built(
        name, num_malicious=2, min_fit_clients=3, min_available_clients=4, min_evaluate_clients=1
    )
    bound = strategy.spec.minimum_updates(strategy.values)
    assert strategy.sampling.min_train_nodes == max(3, bound)
    assert strategy.sampling.min_available_nodes == max(4, bound)
    assert strategy.sampling.min_evaluate_nodes == 1


@every
def test_a_message_carries_the_model_the_round_and_the_strategys_own_keys(name):
    strategy, arrays = ours(name), record(model())
    messages = list(strategy.configure_train(7, arrays, ConfigRecord({"seed": 3}), NodeGrid(4)))
    own = strategy.spec.to_clients(strategy.values)
    assert sorted(m.metadata.dst_node_id for m in messages) == [1, 2, 3, 4]
    for message in messages:
        assert isinstance(message.content, RecordDict)
        assert message.content["arrays"] == arrays
        assert dict(message.content["config"]) == {"seed": 3, "server-round": 7, **own}


def test_clients_are_sent_what_is_theirs():
    sent = {spec.name: spec.to_clients(spec.example) for spec in SPECS}
    assert sent["FedProx"] == {"proximal-mu": 0.1}
    assert sent["FedAdam"] == {"lr": 0.1}
    assert sent["FedAvg"] == sent["Krum"] == {}


@pytest.mark.parametrize(
    "state",
    [
        {"m/w": np.ones(2)},
        {"m/w": np.ones(2), "v/x": np.ones(2)},
        {"m/w": np.ones(2), "v/w": np.ones(3)},
        {"m/w": np.ones(2), "v/w": np.ones(2, np.float32)},
        {"m/w": np.ones(2), "v/w": np.ones(2), "t": np.array(1)},
        {"m/w": np.ones(2), "v/w": -np.ones(2)},
        {"m/w": np.array([np.nan, 1]), "v/w": np.ones(2)},
        {"m/w": np.ones(2), "v/w": np.array([np.nan, 1])},
    ],
)
def test_a_state_that_adam_cannot_have_left_is_refused(state):
    with pytest.raises(CheckpointError, match=r"FedAdam cannot be used: .*; restore an older checkpoint"):
        ours("FedAdam").load_state(state, {"w": np.ones(2)})


def test_a_strategy_without_state_says_that_it_ignores_one():
    lines = logged(lambda: ours("Krum").load_state({"m/w": np.ones(2)}, {"w": np.ones(2)}))
    assert any("Krum" in line and "ignored" in line for line in lines)
