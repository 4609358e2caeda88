"""The table is complete, consistent, and fit for OpenNebula; what repeats it is held equal to it."""

import dataclasses
from itertools import permutations

import pytest

from oneflower.settings import (
    BY_NAME,
    NO_USE_CASE,
    STRATEGIES,
    TABLE,
    USE_CASES,
    Kind,
    Role,
    Settings,
    TrainingConfig,
    asked,
    resolve,
    user_input,
)
from oneflower.settings.sources import is_unset
from oneflower.settings.values import check_value, parse_text

TYPES = {Kind.NUMBER: int, Kind.FLOAT: float, Kind.BOOLEAN: bool}

DEFAULTS = {
    "FLOWER_VERSION": "1.25.0",
    "FL_USE_CASE": "none",
    "ML_FRAMEWORK": "pytorch",
    "FL_BASE_MODEL": "/app/models",
    "FL_NUM_ROUNDS": "3",
    "FL_STRATEGY": "FedAvg",
    "FL_MIN_FIT_CLIENTS": "2",
    "FL_MIN_EVALUATE_CLIENTS": "2",
    "FL_MIN_AVAILABLE_CLIENTS": "2",
    "FL_PROXIMAL_MU": "1.0",
    "FL_SERVER_LR": "0.1",
    "FL_CLIENT_LR": "0.1",
    "FL_NUM_MALICIOUS": "0",
    "FL_TRIM_BETA": "0.2",
    "FL_CHECKPOINT_ENABLED": "NO",
    "FL_CHECKPOINT_INTERVAL": "5",
    "FL_CHECKPOINT_PATH": "/app/checkpoints",
    "FL_CHECKPOINT_KEEP": "3",
    "FL_RESUME": "auto",
    "FL_ROUND_TIMEOUT": "3600",
    "FL_ROUND_RETRIES": "10",
    "FL_SEED": "42",
    "FL_BEST_METRIC": "",
    "FL_EARLY_STOP_ROUNDS": "0",
    "FL_EARLY_STOP_DELTA": "0.0",
    "FL_TARGET_METRIC_VALUE": "",
    "FL_WARM_EXECUTOR": "YES",
    "FL_FLOWER_WORKAROUNDS": "YES",
    "FL_FLOWER_SPEEDUPS": "YES",
    "FL_MAX_RESTARTS": "10",
    "FL_FLEET_API_ADDRESS": "0.0.0.0:9092",
    "FL_CONTROL_API_ADDRESS": "127.0.0.1:9093",
    "FL_ISOLATION": "subprocess",
    "FL_DATABASE": "state/state.db",
    "FL_LOG_LEVEL": "INFO",
    "FL_DASHBOARD_ADDRESS": "127.0.0.1:8265",
    "FL_DASHBOARD_TOKEN": "",
    "FL_TLS_ENABLED": "YES",
    "FL_SSL_CA_CERTFILE": "",
    "FL_SSL_CERTFILE": "",
    "FL_SSL_KEYFILE": "",
    "FL_SUPERLINK_ADDRESS": "",
    "FL_NODE_CONFIG": "",
    "FL_MAX_RETRIES": "0",
    "FL_MAX_WAIT_TIME": "0",
}


def _fields(cls):
    return {field.name: field.type for field in dataclasses.fields(cls)}


def _as_fields(variables):
    return {variable.field: TYPES.get(variable.kind, str) for variable in variables}


def test_the_defaults_are_the_documented_ones():
    assert {variable.name: variable.default_text for variable in TABLE} == DEFAULTS


def test_settings_repeat_the_table():
    assert _fields(Settings) == _as_fields(TABLE)
    assert list(_fields(Settings)) == [variable.field for variable in TABLE]


def test_training_config_repeats_the_run_config_rows():
    assert _fields(TrainingConfig) == _as_fields(v for v in TABLE if v.run_config_key)


def test_run_config_keys_are_the_kebab_case_names():
    own_names = {"FL_NUM_ROUNDS": "num-server-rounds"}
    for variable in TABLE:
        if variable.run_config_key:
            expected = own_names.get(variable.name, variable.field.replace("_", "-"))
            assert variable.run_config_key == expected


def test_no_name_begins_another():
    """OneFlow 6.10 replaces $KEY inside longer names as well; aliases are names too."""
    names = [name for variable in TABLE for name in (variable.name, variable.alias)]
    assert len(set(names)) == len(names)
    assert not [(a, b) for a, b in permutations(names, 2) if b.startswith(a)]


@pytest.mark.parametrize("variable", TABLE, ids=lambda variable: variable.name)
class TestRow:
    def test_the_default_passes_its_own_checks(self, variable):
        assert check_value(variable, variable.default) == variable.default
        assert resolve({variable.name: variable.default_text}).settings == resolve({}).settings

    def test_the_default_has_the_type_of_its_kind(self, variable):
        assert type(variable.default) is TYPES.get(variable.kind, str)

    def test_an_example_of_a_format_passes(self, variable):
        if variable.kind is Kind.TEXT and variable.format:
            assert parse_text(variable, variable.format.example) == variable.format.example

    def test_no_accepted_value_means_unset(self, variable):
        assert not any(is_unset(choice) for choice in variable.choices)

    def test_its_strategies_exist(self, variable):
        assert set(variable.strategies) <= set(STRATEGIES)
        assert not variable.strategies or variable.role is Role.SUPERLINK

    def test_its_use_cases_exist(self, variable):
        assert set(variable.use_cases) <= set(USE_CASES) - {NO_USE_CASE}

    def test_its_input_has_five_parts(self, variable):
        mandatory, kind, label, choices, default = user_input(variable).split("|")
        assert mandatory == "O"
        assert kind == variable.kind.value
        assert label == variable.label
        assert default == variable.default_text
        assert tuple(choices.split(",") if choices else ()) == variable.choices

    def test_its_input_is_plain_text(self, variable):
        """What would end a template string, or be replaced inside it, stands in no input."""
        assert not set(user_input(variable)) & set("\"'\\$`\n")

    def test_its_label_is_a_few_words(self, variable):
        assert 2 <= len(variable.label.split()) <= 5
        assert len(variable.label) <= 42
        assert not variable.label.endswith(".")

    def test_its_label_says_for_which_strategy_or_app_it_is(self, variable):
        assert all(name in variable.label for name in (*variable.strategies, *variable.use_cases))

    def test_its_help_is_one_short_line(self, variable):
        assert len(variable.help) <= 100
        assert not variable.help.endswith(".")


def test_labels_are_told_apart():
    assert len({variable.label for variable in TABLE}) == len(TABLE)


def test_the_short_form_is_what_a_first_deployment_needs():
    """Use case, framework, rounds, strategy, nodes, parameters of strategies, checkpoints; nothing else."""
    assert [variable.name for variable in asked(TABLE)] == [
        "FL_USE_CASE",
        "ML_FRAMEWORK",
        "FL_NUM_ROUNDS",
        "FL_STRATEGY",
        "FL_MIN_FIT_CLIENTS",
        "FL_MIN_EVALUATE_CLIENTS",
        "FL_MIN_AVAILABLE_CLIENTS",
        "FL_PROXIMAL_MU",
        "FL_SERVER_LR",
        "FL_CLIENT_LR",
        "FL_NUM_MALICIOUS",
        "FL_TRIM_BETA",
        "FL_CHECKPOINT_ENABLED",
        "FL_CHECKPOINT_INTERVAL",
    ]
    assert asked(TABLE, all_inputs=True) == TABLE
    assert {name for variable in asked(TABLE) for name in variable.strategies} == set(STRATEGIES) - {"FedAvg"}


def test_inputs_read_as_opennebula_writes_them():
    assert user_input(BY_NAME["FL_CHECKPOINT_ENABLED"]).startswith("O|boolean|")
    assert user_input(BY_NAME["FL_CHECKPOINT_ENABLED"]).endswith("||NO")
    assert user_input(BY_NAME["FL_NUM_ROUNDS"]).endswith("||3")
    assert user_input(BY_NAME["FL_TRIM_BETA"]).startswith("O|number-float|")
    assert user_input(BY_NAME["FL_RESUME"]).endswith("|auto,never|auto")
    assert user_input(BY_NAME["FL_SSL_KEYFILE"]).startswith("O|text64|")


def test_only_key_and_token_are_secret():
    secrets = [variable.name for variable in TABLE if variable.secret]
    assert secrets == ["FL_DASHBOARD_TOKEN", "FL_SSL_KEYFILE"]


def test_a_password_is_hidden_where_it_is_typed():
    assert user_input(BY_NAME["FL_DASHBOARD_TOKEN"]).startswith("O|password|")
