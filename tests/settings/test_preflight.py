"""Which strategies hold their bound, before anything starts."""

import pytest

from oneflower.aggregation import SPECS, Family
from oneflower.settings import resolve
from oneflower.settings.preflight import holding

ROBUST = {spec.name for spec in SPECS if spec.family is Family.ROBUST}


def preflight(strategy, clients, f, **more):
    environ = {"FL_STRATEGY": strategy, "FL_NUM_MALICIOUS": f, "FL_MIN_AVAILABLE_CLIENTS": clients}
    return resolve({name: str(value) for name, value in {**environ, **more}.items()})


def test_of_eleven_clients_every_robust_rule_withstands_two():
    found = preflight("Robust", 11, 2)
    assert set(holding(found.settings, 11)) == ROBUST
    assert found.preflight.startswith(
        "For 11 clients (FL_MIN_AVAILABLE_CLIENTS) and f = 2 (FL_NUM_MALICIOUS) these strategies hold their "
        "bound: Bulyan, CenteredClipping, "
    )
    assert "FL_STRATEGY=Robust is one of them. For uneven data choose Robust, or MultiKrum, which costs" in (
        found.preflight
    )


@pytest.mark.parametrize(
    ("clients", "f", "missing"),
    [
        (10, 2, {"Bulyan"}),
        (6, 2, {"Bulyan", "FedTrimmedAvg", "Krum", "MultiKrum"}),
        (5, 2, {"Bulyan", "FedTrimmedAvg", "Krum", "MultiKrum"}),
        (4, 2, ROBUST - {"FLTrust"}),
        (3, 1, {"Bulyan", "FedTrimmedAvg", "Krum", "MultiKrum"}),
    ],
)
def test_a_rule_holds_from_its_bound_on(clients, f, missing):
    found = preflight("FedAvg", clients, f)
    assert set(holding(found.settings, clients)) == ROBUST - missing
    assert not any(f" {name}," in found.preflight for name in missing - {"MultiKrum", "Robust"})


@pytest.mark.parametrize(
    ("strategy", "clients", "said"),
    [
        (
            "Bulyan",
            6,
            "FL_STRATEGY=Bulyan is none of them: it needs 11 clients (4f+3). For uneven data choose",
        ),
        ("Krum", 4, "FL_STRATEGY=Krum is none of them: it needs 7 clients (2f+3). For uneven data choose"),
        ("Robust", 4, "it needs 5 clients (2f+1). For uneven data choose Robust, with 5 clients (2f+1)."),
        ("FedTrimmedAvg", 5, "FL_STRATEGY=FedTrimmedAvg is none of them: it withstands 1."),
        ("FedMedian", 4, "FL_STRATEGY=FedMedian is none of them: it withstands 1."),
        ("FedAvg", 5, "FL_STRATEGY=FedAvg is none of them: one client can move its mean."),
        ("app", 5, "none of them: FL_NUM_MALICIOUS does not reach the app's own strategy."),
    ],
)
def test_a_choice_that_does_not_hold_is_said_with_the_reason(strategy, clients, said):
    """The minimums are then raised where the rule has a bound: the sentence is of the clients asked for."""
    assert said in preflight(strategy, clients, 2).preflight


def test_buckets_halve_what_a_rule_withstands():
    text = preflight("Krum", 7, 1, FL_PRE_AGGREGATION="bucketing").preflight
    assert "FL_STRATEGY=Krum is none of them: it needs 9 clients (4f+5)" in text


@pytest.mark.parametrize("strategy", ["FedAvg", "Krum", "FLTrust"])
def test_without_malicious_clients_there_is_nothing_to_say(strategy):
    assert not preflight(strategy, 5, 0).preflight


@pytest.mark.parametrize(("strategy", "withstood"), [("FedTrimmedAvg", 2), ("FedMedian", 5)])
def test_a_rule_without_f_is_warned_of_where_it_withstands_fewer(strategy, withstood):
    """It ignores FL_NUM_MALICIOUS, so that no minimum is raised."""
    warned = [
        f"FL_STRATEGY={strategy} withstands {withstood} of 11 clients, and FL_NUM_MALICIOUS is {f}; expected"
        for f in (withstood, withstood + 1)
    ]
    for f, text in zip((withstood, withstood + 1), warned, strict=True):
        notices = [each.text for each in preflight(strategy, 11, f).notices if each.level == "warning"]
        assert any(each.startswith(text) for each in notices) == (f > withstood)


def test_an_app_that_is_not_known_must_have_data_on_the_server():
    (notice,) = resolve({"FL_STRATEGY": "FLTrust"}).notices
    assert "train(root_update=...)" in notice.text
    assert resolve({"FL_STRATEGY": "FLTrust", "FL_USE_CASE": "image-classification"}).notices == ()
