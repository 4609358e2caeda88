"""What travels to the ServerApp: the keys, their TOML, and what the ServerApp reads back."""

import tomllib

import pytest
from flwr.common.config import flatten_dict, fuse_dicts
from flwr.common.serde import user_config_from_proto, user_config_to_proto
from hypothesis import given
from hypothesis import strategies as st

from oneflower.aggregation import SPECS
from oneflower.errors import SettingsError
from oneflower.settings import (
    APP_CONFIG_KEYS,
    STRATEGIES,
    TABLE,
    differences,
    missing_keys,
    render_run_config,
    resolve,
    run_config,
    training_config,
    without_operational,
)

PARAMETERS = {spec.name: {parameter.key for parameter in spec.parameters} for spec in SPECS}
ALL_PARAMETERS = set().union(*PARAMETERS.values())

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), TEXTS)


@given(st.dictionaries(TEXTS, VALUES, max_size=5))
def test_any_mapping_survives_toml(mapping):
    parsed = tomllib.loads(render_run_config(mapping))
    assert parsed == mapping
    assert [type(value) for value in parsed.values()] == [type(value) for value in mapping.values()]


def test_text_that_is_not_utf_8_is_refused():
    with pytest.raises(SettingsError, match="UTF-8"):
        render_run_config({"path": "/a\udcff"})


@pytest.mark.parametrize("strategy", STRATEGIES)
class TestStrategies:
    def test_only_its_own_parameters_are_written(self, strategy):
        keys = set(run_config(resolve({"FL_STRATEGY": strategy}).settings))
        assert keys & ALL_PARAMETERS == PARAMETERS[strategy]
        assert keys - ALL_PARAMETERS == set(APP_CONFIG_KEYS) - ALL_PARAMETERS - {"base-model"}

    def test_the_server_app_reads_what_the_settings_say(self, strategy):
        """Through Flower's own hands: TOML, protobuf, and the defaults that the app declares."""
        settings = resolve({"FL_STRATEGY": strategy, "FL_NUM_ROUNDS": "9", "FL_SEED": "4294967295"}).settings
        override = flatten_dict(tomllib.loads(render_run_config(run_config(settings))))
        sent = user_config_from_proto(user_config_to_proto(override))
        config = training_config(fuse_dicts(dict(APP_CONFIG_KEYS), sent))
        for row in TABLE:
            if row.run_config_key:
                assert config.value_of(row) == settings.value_of(row)

    def test_its_parameters_are_listed(self, strategy):
        parameters = training_config({"strategy": strategy}).strategy_parameters()
        assert {name.replace("_", "-") for name in parameters} == PARAMETERS[strategy]


def test_the_keys_of_an_app_have_the_defaults_of_a_training():
    assert APP_CONFIG_KEYS["num-server-rounds"] == 3
    assert training_config(APP_CONFIG_KEYS) == training_config({})


def test_a_release_without_a_variable_trained_as_its_default_does():
    """A finished training of an earlier release is no other one because a variable was added since."""
    before = {key: value for key, value in APP_CONFIG_KEYS.items() if key != "trim-beta"}
    assert differences(before, APP_CONFIG_KEYS) == differences(APP_CONFIG_KEYS, before) == []
    (change,) = differences(before, {**APP_CONFIG_KEYS, "trim-beta": 0.3})
    assert str(change) == "trim-beta was 0.2, is 0.3"


def test_a_key_of_the_app_that_is_missing_is_a_difference():
    assert [str(change) for change in differences({}, {"local-epochs": 2})] == [
        "local-epochs was not set, is 2"
    ]


def test_missing_keys_are_listed_with_the_defaults_that_replace_them():
    assert missing_keys(APP_CONFIG_KEYS) == {}
    found = missing_keys({"num-server-rounds": 5, "batch-size": 32})
    others = {"num-server-rounds", "operator-set"}
    assert found == {key: value for key, value in APP_CONFIG_KEYS.items() if key not in others}


class TestWhatTheOperatorSet:
    def test_it_travels_and_tells_what_is_the_authors(self):
        settings = resolve({"FL_NUM_ROUNDS": "3"}, {"ONEAPP_FL_SEED": "7", "FL_NODE_AUTH": "NO"}).settings
        config = training_config(run_config(settings))
        assert config.operator_set == {"FL_NUM_ROUNDS", "FL_SEED"}
        assert config.is_set("FL_NUM_ROUNDS")
        assert not config.is_set("FL_STRATEGY")

    def test_an_app_that_oneflower_did_not_pack_has_none(self):
        assert training_config({}).operator_set == frozenset()

    def test_it_is_no_change_of_the_settings(self):
        """FL_NUM_ROUNDS=3 trains what its default trains."""
        before, now = (run_config(resolve(given).settings) for given in ({}, {"FL_NUM_ROUNDS": "3"}))
        assert before != now
        assert differences(without_operational(before), without_operational(now)) == []


class TestTheStrategyOfTheApp:
    def test_a_release_that_had_fedavg_for_it_trained_the_same(self):
        now = without_operational(run_config(resolve({}).settings))
        before = {key: value for key, value in now.items() if key != "proximal-term"} | {"strategy": "FedAvg"}
        assert differences(before, now) == []
        assert [change.key for change in differences(before, now | {"strategy": "Krum"})] == ["strategy"]

    def test_from_this_release_on_fedavg_replaces_the_strategy_of_the_app(self):
        now = without_operational(run_config(resolve({}).settings))
        assert [change.now for change in differences(now | {"strategy": "FedAvg"}, now)] == ["app"]

    def test_the_bounds_are_those_of_fedavg_and_no_parameter_is_its_own(self):
        settings, fedavg = (resolve({"FL_STRATEGY": name}).settings for name in ("app", "FedAvg"))
        assert settings.strategy_parameters() == {}
        assert settings.minimum_updates == fedavg.minimum_updates
        assert settings.quorum_after(1) == fedavg.quorum_after(1)


def test_keys_of_the_app_itself_are_left_alone():
    assert training_config({"batch-size": 32, "x": object()}) == training_config({})


def test_every_wrong_key_is_named():
    with pytest.raises(SettingsError) as caught:
        training_config(
            {
                "num-server-rounds": 0,
                "strategy": "FedMagic",
                "seed": "1",
                "trim-beta": 0.5,
                "round-timeout": 1.0,
            }
        )
    for key in ("num-server-rounds", "strategy", "seed", "trim-beta", "round-timeout"):
        assert f"run-config key {key} (FL_" in str(caught.value)


def test_a_whole_number_is_taken_for_a_float():
    """`flwr run -c 'proximal-mu=1'` sends an integer."""
    config = training_config({"strategy": "FedProx", "proximal-mu": 1})
    assert config.strategy_parameters() == {"proximal_mu": 1.0}


@pytest.mark.parametrize(
    ("run_config", "quorum"),
    [
        ({}, 2),
        ({"min-fit-clients": 5}, 5),
        ({"strategy": "Krum", "num-malicious": 2}, 7),
        ({"strategy": "Krum", "num-malicious": 2, "min-fit-clients": 8}, 8),
        ({"strategy": "Bulyan", "num-malicious": 2}, 11),
        ({"num-malicious": 2}, 2),
    ],
)
def test_the_quorum_is_the_minimum_or_the_bound_of_the_rule(run_config, quorum):
    """Also where an app is run by hand, without the settings that raise the minimums."""
    assert training_config(run_config).quorum == quorum


@pytest.mark.parametrize(
    ("given_values", "expected"),
    [
        ({"FL_USE_CASE": "llm-fine-tuning"}, "/app/models"),
        ({"FL_USE_CASE": "llm-fine-tuning", "FL_BASE_MODEL": "/m/own"}, "/m/own"),
        ({"FL_USE_CASE": "image-classification", "FL_BASE_MODEL": "/m/own"}, None),
        ({"FL_BASE_MODEL": "/m/own"}, "/m/own"),
        ({}, None),
    ],
)
def test_the_base_model_goes_to_the_app_that_has_one_and_to_ones_own_where_it_was_set(given_values, expected):
    """The default must not replace the base model that an app of one's own declares."""
    assert run_config(resolve(given_values).settings).get("base-model") == expected


@pytest.mark.parametrize(
    ("before", "now", "text"),
    [
        ({"initial-model": "/x"}, {"initial-model": ""}, "initial-model was /x, is empty"),
        ({"initial-model": "/x"}, {}, "initial-model was /x, is empty"),
        ({"slow": 0.5}, {}, "slow was 0.5, is not set"),
    ],
)
def test_no_side_of_a_change_is_nothing(before, now, text):
    """It ended after `is`."""
    assert [str(change) for change in differences(before, now)] == [text]
