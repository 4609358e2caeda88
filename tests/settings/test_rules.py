"""Rules across variables: guarantees are kept by raising minimums, and what has no effect is said."""

import re

import pytest

from oneflower.aggregation import PARAMETERS, readers, spec_of
from oneflower.errors import SettingsError
from oneflower.settings import STRATEGIES, TABLE, USE_CASES, Role, resolve, use_case_of
from oneflower.settings.rules import contradictions
from oneflower.settings.use_cases import FRAMEWORKS


def _notices(environ, level):
    return [notice.text for notice in resolve(environ).notices if notice.level == level]


@pytest.mark.parametrize(
    ("strategy", "malicious", "bound"),
    [("Krum", 0, 3), ("Krum", 1, 5), ("Krum", 2, 7), ("Bulyan", 0, 3), ("Bulyan", 1, 7), ("Bulyan", 2, 11)],
)
class TestRobustMinimums:
    def test_minimums_below_the_bound_are_raised(self, strategy, malicious, bound):
        environ = {
            "FL_STRATEGY": strategy,
            "FL_NUM_MALICIOUS": str(malicious),
            "FL_MIN_AVAILABLE_CLIENTS": str(bound - 1),
            "FL_MIN_FIT_CLIENTS": str(bound - 2),
        }
        resolution = resolve(environ)
        assert resolution.settings.min_available_clients == bound
        assert resolution.settings.min_fit_clients == bound
        warnings = _notices(environ, "warning")
        assert any(
            f"FL_MIN_AVAILABLE_CLIENTS is {bound - 1}" in text and str(bound) in text for text in warnings
        )
        assert any(f"FL_MIN_FIT_CLIENTS is {bound - 2}" in text and str(bound) in text for text in warnings)
        assert resolution.provenance["FL_MIN_AVAILABLE_CLIENTS"].raised_to == bound
        assert resolution.provenance["FL_MIN_AVAILABLE_CLIENTS"].given == str(bound - 1)

    def test_minimums_at_the_bound_are_left_alone(self, strategy, malicious, bound):
        environ = {
            "FL_STRATEGY": strategy,
            "FL_NUM_MALICIOUS": str(malicious),
            "FL_MIN_AVAILABLE_CLIENTS": str(bound),
            "FL_MIN_FIT_CLIENTS": str(bound),
        }
        resolution = resolve(environ)
        assert resolution.settings.min_available_clients == bound
        assert resolution.notices == ()
        assert all(each.raised_to is None for each in resolution.provenance.values())


def test_krum_with_two_malicious_clients_of_three():
    """The warning names 3 and 7, and seven is what the training then waits for."""
    environ = {"FL_STRATEGY": "Krum", "FL_NUM_MALICIOUS": "2", "FL_MIN_AVAILABLE_CLIENTS": "3"}
    assert _notices(environ, "warning")[0] == (
        "FL_MIN_AVAILABLE_CLIENTS is 3, and FL_STRATEGY=Krum with FL_NUM_MALICIOUS=2 needs 7 clients (2f+3): "
        "the effective minimum is raised to 7"
    )
    assert resolve(environ).settings.min_available_clients == 7


def test_a_default_below_the_bound_is_raised_too():
    resolution = resolve({"FL_STRATEGY": "Bulyan"})
    assert resolution.settings.min_fit_clients == 3
    assert resolution.provenance["FL_MIN_FIT_CLIENTS"].is_default
    assert resolution.provenance["FL_MIN_FIT_CLIENTS"].raised_to == 3


def test_malicious_clients_raise_nothing_for_another_strategy():
    resolution = resolve({"FL_NUM_MALICIOUS": "5"})
    assert resolution.settings.min_fit_clients == 2
    assert [notice.level for notice in resolution.notices] == ["info"]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("malicious", [0, 1, 2, 10])
def test_a_minimum_is_raised_to_the_number_below_which_the_aggregation_refuses(strategy, malicious):
    settings = resolve(
        {"FL_STRATEGY": strategy, "FL_NUM_MALICIOUS": str(malicious), "FL_MIN_FIT_CLIENTS": "1"}
    ).settings
    assert settings.min_fit_clients == spec_of(strategy).minimum_updates({"num_malicious": malicious})


@pytest.mark.parametrize("name", ["FL_MIN_FIT_CLIENTS", "FL_MIN_EVALUATE_CLIENTS"])
def test_more_clients_wanted_than_waited_for_is_a_warning(name):
    (warning,) = _notices({name: "3"}, "warning")
    assert warning.startswith(f"{name} is 3, more than FL_MIN_AVAILABLE_CLIENTS, which is 2")
    assert _notices({name: "3", "FL_MIN_AVAILABLE_CLIENTS": "3"}, "warning") == []


def test_fedprox_without_its_term_is_a_warning():
    (warning,) = _notices({"FL_STRATEGY": "FedProx", "FL_PROXIMAL_MU": "0.0"}, "warning")
    assert "FedAvg" in warning
    assert _notices({"FL_STRATEGY": "FedProx", "FL_PROXIMAL_MU": "0.1"}, "warning") == []


def test_trimming_nothing_is_a_warning_with_the_smallest_number_that_trims():
    environ = {"FL_STRATEGY": "FedTrimmedAvg", "FL_MIN_FIT_CLIENTS": "4", "FL_MIN_AVAILABLE_CLIENTS": "4"}
    (warning,) = _notices(environ, "warning")
    assert "nothing would be trimmed" in warning
    assert "5 is the smallest number that trims" in warning
    enough = environ | {"FL_MIN_FIT_CLIENTS": "5", "FL_MIN_AVAILABLE_CLIENTS": "5"}
    assert _notices(enough, "warning") == []


def test_a_beta_that_never_trims_is_told_without_a_number():
    (warning,) = _notices({"FL_STRATEGY": "FedTrimmedAvg", "FL_TRIM_BETA": "5e-324"}, "warning")
    assert "no number of clients trims" in warning


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda parameter: parameter.name)
def test_a_parameter_of_another_strategy_is_ignored_and_said_so(parameter):
    owners = " and ".join(spec.name for spec in readers(parameter))
    value = 1 if isinstance(parameter.default, int) else 0.3
    assert parameter.in_bounds(value)
    (info,) = _notices({parameter.variable: str(value)}, "info")
    assert info == f"{parameter.variable} belongs to {owners} and is ignored: FL_STRATEGY is app"


def test_the_defaults_that_a_form_sends_are_no_notice():
    given = {variable.name: variable.default_text for variable in TABLE}
    assert _notices(given, "info") == _notices(given, "warning") == []


@pytest.mark.parametrize("name", ["FL_CHECKPOINT_INTERVAL", "FL_CHECKPOINT_KEEP"])
def test_a_checkpoint_setting_without_checkpoints_is_said(name):
    assert _notices({name: "4"}, "info") == [f"{name} has no effect: FL_CHECKPOINT_ENABLED is NO"]
    assert _notices({name: "4", "FL_CHECKPOINT_ENABLED": "YES"}, "info") == []


def test_certificates_without_tls_are_a_warning():
    certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
    joining, unused = _notices({"FL_SSL_CA_CERTFILE": certificate, "FL_TLS_ENABLED": "NO"}, "warning")
    assert "FL_SSL_CA_CERTFILE has no effect: FL_TLS_ENABLED is NO" in unused
    assert "can join as a client" in joining


@pytest.mark.parametrize("off", ["FL_TLS_ENABLED", "FL_NODE_AUTH"])
def test_an_open_door_is_a_warning_that_says_how_to_close_it(off):
    (warning,) = _notices({off: "NO"}, "warning")
    assert warning.startswith(f"{off} is NO: every machine that reaches FL_FLEET_API_ADDRESS can join")
    assert f"set {off}=YES" in warning
    assert _notices({}, "warning") == []
    assert resolve({}).settings.authenticates_nodes
    assert not resolve({off: "NO"}).settings.authenticates_nodes


@pytest.mark.parametrize("path", ["/m/a:b", "/m/a,b", "/m/it's"])
def test_a_base_model_that_a_mount_or_a_node_config_would_take_apart_is_refused(path):
    with pytest.raises(SettingsError, match=r"FL_BASE_MODEL is .* expected a path without them"):
        resolve({"FL_BASE_MODEL": path})


def test_checkpoints_and_models_are_two_folders():
    with pytest.raises(SettingsError, match="expected two folders"):
        resolve({"FL_BASE_MODEL": "/app/x", "FL_CHECKPOINT_PATH": "/app/x"})


def test_a_base_model_is_of_no_use_to_an_app_without_one():
    environ = {"FL_USE_CASE": "image-classification", "FL_BASE_MODEL": "/m"}
    assert _notices(environ, "info") == [
        "FL_BASE_MODEL belongs to llm-fine-tuning and is ignored: FL_USE_CASE is image-classification"
    ]
    assert not _notices(environ | {"FL_USE_CASE": "none"}, "info")


@pytest.mark.parametrize(
    "environ",
    [
        {"ML_FRAMEWORK": "caffe"},
        {"ONEAPP_ML_FRAMEWORK": "caffe"},
        {"ML_FRAMEWORK": "tensorflow", "FL_USE_CASE": "tabular-classification"},
        {"FL_USE_CASE": "image-segmentation"},
        {"FL_USE_CASE": "llm-fine-tuning", "ML_FRAMEWORK": "sklearn", "FL_NUM_ROUNDS": "0"},
    ],
)
def test_what_fits_is_shown_where_app_and_framework_do_not(environ):
    with pytest.raises(SettingsError) as caught:
        resolve(environ)
    text = str(caught.value)
    assert re.search(r"^  none +of the app ", text, re.MULTILINE)
    for use_case in USE_CASES[1:]:
        assert re.search(rf"^  {use_case} +{use_case_of(use_case).framework} ", text, re.MULTILINE)


def test_what_fits_is_not_shown_for_other_problems():
    with pytest.raises(SettingsError) as caught:
        resolve({"FL_NUM_ROUNDS": "0"})
    assert "Apps and frameworks" not in str(caught.value)


def test_an_app_of_another_framework_is_a_contradiction():
    values = {"use_case": "anomaly-detection", "ml_framework": "jax"}
    (problem,) = contradictions({}, values, Role.BOTH)
    assert "written in pytorch" in problem
    assert not list(contradictions({}, values | {"use_case": "none"}, Role.BOTH))


@pytest.mark.parametrize("given", [{}, {"ML_FRAMEWORK": "pytorch"}, {"ML_FRAMEWORK": "any"}])
def test_the_app_decides_the_framework_where_none_was_chosen(given):
    """A form sends the default, pytorch, whatever the app is."""
    environ = given | {"FL_USE_CASE": "tabular-classification"}
    assert resolve(environ).settings.framework == "sklearn"
    assert [text for text in _notices(environ, "info") if "sklearn is used" in text] == [
        f"ML_FRAMEWORK is {each}, and FL_USE_CASE=tabular-classification is written in sklearn: "
        "sklearn is used"
        for each in given.values()
    ]


def test_an_app_whose_model_no_other_strategy_can_combine_keeps_its_own():
    environ = {"FL_USE_CASE": "xgboost-bagging"}
    resolve(environ | {"FL_STRATEGY": "app"})
    with pytest.raises(
        SettingsError, match=r"FedXgbBagging, can combine its model; expected FL_STRATEGY='app'"
    ):
        resolve(environ | {"FL_STRATEGY": "Krum"})


@pytest.mark.parametrize("chosen", FRAMEWORKS)
def test_an_app_of_ones_own_has_the_framework_that_was_chosen(chosen):
    assert resolve({"FL_USE_CASE": "none", "ML_FRAMEWORK": chosen}).settings.framework == chosen


# --- when the training ends -----------------------------------------------------------------------


@pytest.mark.parametrize("text", ["eval_acc", "-eval_loss", "-central loss", "evaluate eval_acc", "+loss"])
def test_a_metric_is_taken_as_it_is_written(text):
    assert resolve({"FL_BEST_METRIC": text}).settings.best_metric == text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"FL_BEST_METRIC": "eval_loss"}, "Write -eval_loss"),
        ({"FL_BEST_METRIC": "-"}, "expected a metric's name after '-'"),
        ({"FL_TARGET_METRIC_VALUE": "0.9"}, "FL_BEST_METRIC is empty"),
        ({"FL_TARGET_METRIC_VALUE": "high", "FL_BEST_METRIC": "acc"}, "it is not a finite number"),
        ({"FL_TARGET_METRIC_VALUE": "1e999", "FL_BEST_METRIC": "acc"}, "it is not a finite number"),
        ({"FL_EARLY_STOP_ROUNDS": "-1"}, "it is too small"),
        ({"FL_EARLY_STOP_DELTA": "-0.1"}, "it is too small"),
    ],
)
def test_an_end_that_cannot_be_meant_is_refused(given, said):
    with pytest.raises(SettingsError, match=re.escape(said)):
        resolve(given)


@pytest.mark.parametrize(
    ("given", "level", "said"),
    [
        ({"FL_ROUND_TIMEOUT": "10"}, "warning", "FL_ROUND_TIMEOUT is 10: a client that works longer"),
        (
            {"FL_EARLY_STOP_ROUNDS": "2", "FL_MIN_EVALUATE_CLIENTS": "0"},
            "warning",
            "FL_EARLY_STOP_ROUNDS is set and FL_MIN_EVALUATE_CLIENTS is 0",
        ),
        ({"FL_BEST_METRIC": "-accuracy"}, "warning", "FL_BEST_METRIC is '-accuracy': - says that lower"),
        ({"FL_BEST_METRIC": "-central  F1"}, "warning", "FL_BEST_METRIC is '-central  F1'"),
        ({"FL_EARLY_STOP_DELTA": "0.1"}, "info", "FL_EARLY_STOP_DELTA has no effect"),
        ({"FL_EARLY_STOP_ROUNDS": "3"}, "info", "FL_EARLY_STOP_ROUNDS has no effect"),
    ],
)
def test_what_is_probably_not_meant_is_said(given, level, said):
    assert any(text.startswith(said) for text in _notices(given, level))


@pytest.mark.parametrize(
    "given",
    [
        {"FL_ROUND_TIMEOUT": "65"},
        {"FL_MIN_EVALUATE_CLIENTS": "0"},
        *({"FL_BEST_METRIC": name} for name in ("accuracy", "+accuracy", "-loss", "+loss", "-rmse", "rmse")),
    ],
)
def test_what_is_right_is_not_commented_on(given):
    assert resolve(given).notices == ()


@pytest.mark.parametrize("kind", ["NNM", "bucketing"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_means_stand_before_rules_that_weigh_all_alike(strategy, kind):
    environ = {"FL_STRATEGY": strategy, "FL_PRE_AGGREGATION": kind}
    if spec_of(strategy).weights_by_examples:
        with pytest.raises(SettingsError, match="weighs by examples: expected one of"):
            resolve(environ)
    else:
        assert resolve(environ).settings.rule.apply is not spec_of(strategy).apply


def test_buckets_raise_the_minimums_to_twice_as_many():
    """Krum needs five points with f = 1; nine updates are five buckets."""
    environ = {"FL_STRATEGY": "Krum", "FL_NUM_MALICIOUS": "1", "FL_PRE_AGGREGATION": "bucketing"}
    assert resolve(environ).settings.min_fit_clients == 9
    assert any(
        "Krum after bucketing with FL_NUM_MALICIOUS=1 needs 9 clients (4f+5)" in text
        for text in _notices(environ, "warning")
    )
