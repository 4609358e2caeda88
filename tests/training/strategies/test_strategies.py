"""What each strategy sends, keeps, and says of itself."""

import logging

import numpy as np
import pytest
from flwr.common import ConfigRecord, RecordDict
from flwr.serverapp import strategy as flower

from oneflower.errors import CheckpointError, SettingsError
from oneflower.settings import STRATEGIES, training_config
from oneflower.settings.quorum import minimum_clients as settings_minimum
from oneflower.training.strategies import build_strategy

from .conftest import (
    FEWEST,
    OPTIONS,
    NodeGrid,
    configured,
    model,
    numpy_of,
    ours,
    raw,
    record,
    replies,
)

every = pytest.mark.parametrize("name", OPTIONS)


def built(name, **run_config):
    keys = {key.replace("_", "-"): value for key, value in run_config.items()}
    return build_strategy(training_config({"strategy": name, **keys}))


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


def test_there_is_a_strategy_for_every_name_of_fl_strategy():
    assert set(STRATEGIES) == set(OPTIONS)


@every
def test_a_strategy_is_flowers_own_class_of_that_name(name):
    strategy = built(name)
    assert strategy.name == name
    assert isinstance(strategy, getattr(flower, name))


def test_an_unknown_strategy_is_refused_with_the_known_ones():
    config = training_config({})
    object.__setattr__(config, "strategy", "FedSGD")
    with pytest.raises(SettingsError, match=r"'FedSGD'.*FedTrimmedAvg"):
        build_strategy(config)


def test_parameters_come_from_the_settings_and_are_logged_by_name():
    given = {
        "FedProx": ({"proximal_mu": 0.7}, ["proximal-mu: 0.7"]),
        "FedAdam": (
            {"server_lr": 0.03, "client_lr": 0.02},
            ["server-lr: 0.03", "client-lr: 0.02", "tau: 0.001"],
        ),
        "Krum": ({"num_malicious": 2}, ["num-malicious: 2", "valid updates: 7"]),
        "Bulyan": ({"num_malicious": 2}, ["num-malicious: 2", "valid updates: 11", "iterated_krum"]),
        "FedTrimmedAvg": ({"trim_beta": 0.3}, ["trim-beta: 0.3"]),
        "FedAvg": ({}, ["Strategy: FedAvg", "valid updates: 1"]),
    }
    for name, (run_config, expected) in given.items():
        text = "\n".join(logged(built(name, **run_config).summary))
        assert all(words in text for words in expected), text


@every
def test_minimums_are_the_settings_and_never_below_the_rules_bound(name):
    strategy = built(
        name, num_malicious=2, min_fit_clients=3, min_available_clients=4, min_evaluate_clients=1
    )
    bound = settings_minimum(name, 2)
    assert strategy.minimum_updates == (bound if name in {"Krum", "Bulyan"} else 1)
    assert strategy.min_train_nodes == max(3, bound)
    assert strategy.min_available_nodes == max(4, bound)
    assert strategy.min_evaluate_nodes == 1


@every
def test_a_message_carries_the_model_the_round_and_the_strategys_own_keys(name):
    strategy, arrays = ours(name), record(model())
    messages = list(strategy.configure_train(7, arrays, ConfigRecord({"seed": 3}), NodeGrid(4)))
    own = {"FedProx": {"proximal-mu": 0.5}, "FedAdam": {"lr": 0.1}}.get(name, {})
    assert sorted(m.metadata.dst_node_id for m in messages) == [1, 2, 3, 4]
    for message in messages:
        assert isinstance(message.content, RecordDict)
        assert message.content["arrays"] == arrays
        assert dict(message.content["config"]) == {"seed": 3, "server-round": 7, **own}


@every
def test_only_fedadam_keeps_state(name):
    strategy = configured(ours(name), model())
    assert strategy.state_arrays() == {}
    strategy.aggregate_train(1, replies(FEWEST))
    keys = {f"{moment}/{array}" for moment in "mv" for array in model()}
    assert set(strategy.state_arrays()) == (keys if name == "FedAdam" else set())


@every
def test_a_resumed_strategy_ends_with_the_same_bytes(name):
    def rounds(strategy, current, first, last):
        for number in range(first, last + 1):
            given = replies(FEWEST, numpy_of(current), seed=number)
            current, _ = configured(strategy, numpy_of(current)).aggregate_train(number, given)
        return current

    whole = rounds(ours(name), record(model()), 1, 6)
    before = ours(name)
    half = rounds(before, record(model()), 1, 3)
    after = ours(name)
    after.load_state_arrays(before.state_arrays())
    assert raw(rounds(after, half, 4, 6)) == raw(whole)


def test_a_state_that_was_handed_out_does_not_change_any_more():
    """A checkpoint may be written while the next round is aggregated."""
    strategy = configured(ours("FedAdam"), model())
    strategy.aggregate_train(1, replies(FEWEST))
    state = strategy.state_arrays()
    before = {key: array.copy() for key, array in state.items()}
    strategy.aggregate_train(2, replies(FEWEST, seed=2))
    for key, array in before.items():
        np.testing.assert_array_equal(state[key], array)


def test_an_empty_state_starts_adam_afresh():
    strategy = configured(ours("FedAdam"), model())
    strategy.aggregate_train(1, replies(FEWEST))
    strategy.load_state_arrays({})
    assert strategy.state_arrays() == {}


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
    with pytest.raises(CheckpointError, match="restore an older checkpoint"):
        ours("FedAdam").load_state_arrays(state)


def test_a_strategy_without_state_says_that_it_ignores_one():
    lines = logged(lambda: ours("Krum").load_state_arrays({"m/w": np.ones(2)}))
    assert any("Krum" in line and "ignored" in line for line in lines)


def test_what_is_ignored_of_a_reply_is_logged_with_the_client():
    given = replies(4)
    given[0].content["metrics"]["mood"] = 1.0
    lines = logged(lambda: ours("FedAvg").check(given, record(model())))
    assert any("client=1" in line and "mood" in line for line in lines)


def test_an_evaluation_that_is_left_out_is_logged_with_the_client():
    given = replies(4)
    given[1].content["metrics"]["num-examples"] = -1
    lines = logged(lambda: ours("FedAvg").aggregate_evaluate(1, given))
    assert any("client=2" in line and "num-examples is -1" in line for line in lines)
