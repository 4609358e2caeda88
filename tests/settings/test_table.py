"""The table is complete, consistent, and fit for OpenNebula."""

import re
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest

from oneflower.aggregation import PARAMETERS, SPECS
from oneflower.opennebula.appliance.publisher import OWN_KEYS
from oneflower.settings import (
    AUTHORS,
    BY_NAME,
    NO_USE_CASE,
    STRATEGIES,
    TABLE,
    USE_CASES,
    Role,
    Settings,
    TrainingConfig,
    asked,
    resolve,
    user_input,
)
from oneflower.settings.sources import is_unset
from oneflower.settings.values import Boolean, Decimal, Integer, Text

ROOT = Path(__file__).parents[2]
TYPES = {Integer: int, Decimal: float, Boolean: bool}

DEFAULTS = {
    "FLOWER_VERSION": "1.25.0",
    "FL_USE_CASE": "none",
    "ML_FRAMEWORK": "pytorch",
    "FL_BASE_MODEL": "/app/models",
    "FL_NUM_ROUNDS": "3",
    "FL_STRATEGY": "app",  # FedAvg for an app that builds none, as before
    "FL_MIN_FIT_CLIENTS": "2",
    "FL_MIN_EVALUATE_CLIENTS": "2",
    "FL_MIN_AVAILABLE_CLIENTS": "2",
    **{parameter.variable: str(parameter.default) for parameter in PARAMETERS},
    "FL_CHECKPOINT_ENABLED": "NO",
    "FL_CHECKPOINT_INTERVAL": "5",
    "FL_CHECKPOINT_PATH": "/app/checkpoints",
    "FL_CHECKPOINT_KEEP": "3",
    "FL_RESUME": "auto",
    "FL_INITIAL_MODEL": "",
    "FL_REPLAY": "YES",
    "FL_PROXIMAL_TERM": "auto",
    "FL_APP_CONFIG": "",
    "FL_ROUND_TIMEOUT": "3600",
    "FL_ROUND_RETRIES": "10",
    "FL_SEED": "42",
    "FL_BEST_METRIC": "",
    "FL_EARLY_STOP_ROUNDS": "0",
    "FL_EARLY_STOP_DELTA": "0.0",
    "FL_TARGET_METRIC_VALUE": "",
    "FL_APP": "",
    "FL_WARM_EXECUTOR": "YES",
    "FL_DATA_CACHE": "YES",
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
    "FL_GPU_ENABLED": "NO",
    "FL_CUDA_VISIBLE_DEVICES": "all",
    "FL_GPU_MEMORY_FRACTION": "0.8",
    "FL_GPU_REQUIRED": "NO",
}


def test_no_documented_default_changes():
    """An operator who left a variable out must not find another training after an upgrade."""
    assert {name: BY_NAME[name].default_text for name in DEFAULTS} == DEFAULTS


def test_nothing_given_is_the_defaults():
    assert resolve({}).settings == Settings()


def test_the_training_has_the_variables_of_the_run_config():
    config = TrainingConfig()
    for row in TABLE:
        if row.run_config_key:
            assert config.value_of(row) == row.default
        else:
            assert not hasattr(config, row.field)


def test_no_secret_is_in_the_text_of_the_settings():
    settings = replace(Settings(), dashboard_token="hush", ssl_keyfile="hush")
    assert "hush" not in repr(settings)


NAME = re.compile(r"\b(?:ONEAPP_)?(FL_[A-Z][A-Z_]*[A-Z])\b")
# What appliances publish through OneGate; `publisher` has the list.
PUBLISHED = OWN_KEYS | {"FL_DOCTOR", "FL_READY"}


def test_no_text_names_a_variable_that_does_not_exist():
    files = [path for path in (ROOT / "src").rglob("*") if path.suffix in {".py", ".j2", ".css", ".js"}]
    found = {name for path in files for name in NAME.findall(path.read_text(encoding="utf-8"))}
    assert not found - set(BY_NAME) - PUBLISHED


def test_no_key_that_apps_read_from_the_run_config_changes():
    """Flower's own name for the rounds, else the variable's name in kebab case."""
    names = {
        "num-server-rounds": "FL_NUM_ROUNDS",
        "min-fit-clients": "FL_MIN_FIT_CLIENTS",
        "strategy": "FL_STRATEGY",
        "proximal-mu": "FL_PROXIMAL_MU",
        "server-lr": "FL_SERVER_LR",
        "base-model": "FL_BASE_MODEL",
        "checkpoint-path": "FL_CHECKPOINT_PATH",
        "seed": "FL_SEED",
    }
    assert {key: BY_NAME[name].run_config_key for key, name in names.items()} == {key: key for key in names}


def test_no_name_begins_another():
    """OneFlow 6.10 replaces $KEY inside longer names as well; the form asks for this one by its alias."""
    names = [name for variable in TABLE for name in (variable.name, variable.alias)]
    assert len(set(names)) == len(names)
    found = [(a, b) for a, b in permutations(names, 2) if b.startswith(a)]
    assert found == [("FL_APP", "FL_APP_CONFIG"), ("ONEAPP_FL_APP", "ONEAPP_FL_APP_CONFIG")]


@pytest.mark.parametrize("variable", TABLE, ids=lambda variable: variable.name)
class TestRow:
    def test_the_default_passes_its_own_checks(self, variable):
        assert variable.check(variable.default) == variable.default
        assert resolve({variable.name: variable.default_text}).settings == resolve({}).settings

    def test_the_default_has_the_type_of_its_kind(self, variable):
        assert type(variable.default) is TYPES.get(type(variable.kind), str)

    def test_an_example_of_a_format_passes(self, variable):
        if type(variable.kind) is Text:
            assert variable.parse(variable.kind.format.example) == variable.kind.format.example

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
        assert kind == variable.kind.input_type
        assert label == variable.label
        assert default == ("" if variable.field in AUTHORS else variable.default_text)
        assert tuple(choices.split(",") if choices else ()) == variable.choices

    def test_its_input_is_plain_text(self, variable):
        """What would end a template string, or be replaced inside it, stands in no input."""
        assert not set(user_input(variable)) & set("\"'\\$`\n")

    def test_its_label_is_a_few_words(self, variable):
        assert 2 <= len(variable.label.split()) <= 5
        assert len(variable.label) <= 42
        assert not variable.label.endswith(".")

    def test_its_label_says_for_which_strategy_or_app_it_is(self, variable):
        assert all(name in variable.label for name in variable.use_cases)
        if len(variable.strategies) <= 2:
            assert all(name in variable.label for name in variable.strategies)
        else:
            assert all(name in variable.help for name in variable.strategies)

    def test_its_help_is_one_short_line(self, variable):
        assert len(variable.help) <= 100
        assert not variable.help.endswith(".")


def test_labels_are_told_apart():
    assert len({variable.label for variable in TABLE}) == len(TABLE)


def test_the_short_form_is_what_a_first_deployment_needs():
    """App, rounds, strategy, clients, parameters of strategies, checkpoints, framework; nothing else."""
    assert [variable.name for variable in asked(TABLE)] == [
        "FL_USE_CASE",
        "FL_NUM_ROUNDS",
        "FL_STRATEGY",
        "FL_MIN_FIT_CLIENTS",
        "FL_MIN_EVALUATE_CLIENTS",
        "FL_MIN_AVAILABLE_CLIENTS",
        *[parameter.variable for parameter in PARAMETERS],
        "FL_CHECKPOINT_ENABLED",
        "FL_CHECKPOINT_INTERVAL",
        "ML_FRAMEWORK",
        "FL_APP",
    ]
    assert asked(TABLE, all_inputs=True) == TABLE
    with_parameters = {spec.name for spec in SPECS if spec.parameters}
    assert {name for variable in asked(TABLE) for name in variable.strategies} == with_parameters


def test_inputs_read_as_opennebula_writes_them():
    assert user_input(BY_NAME["FL_CHECKPOINT_ENABLED"]).startswith("O|boolean|")
    assert user_input(BY_NAME["FL_CHECKPOINT_ENABLED"]).endswith("||NO")
    assert user_input(BY_NAME["FL_NUM_ROUNDS"]).endswith("||")
    assert user_input(BY_NAME["FL_ROUND_TIMEOUT"]).endswith("||3600")
    assert user_input(BY_NAME["FL_TRIM_BETA"]).startswith("O|number-float|")
    assert user_input(BY_NAME["FL_LOG_LEVEL"]).endswith("|DEBUG,INFO,WARNING,ERROR|INFO")
    assert user_input(BY_NAME["FL_SSL_KEYFILE"]).startswith("O|text64|")


def test_only_key_and_tokens_are_secret():
    secrets = {variable.name for variable in TABLE if variable.secret}
    assert secrets == {"FL_CHECKPOINT_KEY", "FL_CONTROL_TOKEN", "FL_DASHBOARD_TOKEN", "FL_SSL_KEYFILE"}


def test_a_password_is_hidden_where_it_is_typed():
    assert user_input(BY_NAME["FL_DASHBOARD_TOKEN"]).startswith("O|password|")
