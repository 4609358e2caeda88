"""oneflower's keys beside those of an app: what is declared, what is sent, and what is compared."""

import pytest

from oneflower.settings import (
    APP_CONFIG_KEYS,
    declared,
    differences,
    resolve,
    run_config,
    submitted,
    training_config,
    with_the_authors,
    without_operational,
)


def sent(own=None, **given):
    """Return what an app with these keys of its own reads, as Flower puts it together."""
    own = own or {}
    flat = {**{key: value for key, value in declared(own, own).items() if key != "oneflower"}}
    flat |= {f"oneflower.{key}": value for key, value in APP_CONFIG_KEYS.items()}
    change = submitted(run_config(resolve(given).settings), own)
    assert change.keys() <= flat.keys()
    return {**flat, **change}


def test_an_app_without_keys_of_its_own_reads_the_plain_names_as_before():
    found = sent(FL_SEED="7", FL_STRATEGY="Krum")
    assert found["seed"] == found["oneflower.seed"] == 7
    assert found["strategy"] == found["oneflower.strategy"] == "Krum"


@pytest.mark.parametrize(
    ("own", "given", "read"),
    [
        ({"seed": 5}, {}, 5),
        ({"seed": 5}, {"FL_SEED": "7"}, 7),
        ({"seed": 5.0}, {"FL_SEED": "7"}, 7.0),
        ({"seed": "five"}, {"FL_SEED": "7"}, "five"),
        ({"seed": True}, {"FL_SEED": "7"}, True),
    ],
)
def test_a_key_of_the_apps_own_gets_what_the_operator_set_in_its_type(own, given, read):
    found = sent(own, **given)
    assert found["seed"] == read
    assert type(found["seed"]) is type(read)
    assert training_config(found).seed == int(given.get("FL_SEED", 42))


def test_the_table_holds_before_the_plain_name():
    assert training_config({"seed": 5, "oneflower.seed": 7}).seed == 7
    assert training_config({"seed": 5}).seed == 5


def test_defaults_that_an_app_declares_in_the_table_hold():
    assert declared({"oneflower": {"seed": 9}}, ["oneflower.seed"])["oneflower"]["seed"] == 9


class TestWhatIsCompared:
    """Checkpoints of before have plain names."""

    def test_the_same_settings_are_no_change(self):
        now = sent({"local-epochs": 2}, FL_SEED="7")
        plain = {**run_config(resolve({"FL_SEED": "7"}).settings), "local-epochs": 2}
        before = without_operational({key: value for key, value in plain.items() if key != "proximal-term"})
        assert differences({**before, "strategy": "FedAvg"}, without_operational(now)) == []

    def test_a_change_has_the_plain_name(self):
        before, now = without_operational(sent()), without_operational(sent(FL_SEED="7"))
        assert [str(change) for change in differences(before, now)] == ["seed was 42, is 7"]

    def test_a_key_of_the_apps_own_is_compared_too(self):
        before, now = (without_operational(sent({"seed": own, "lr": own})) for own in (1.0, 2.0))
        assert [change.key for change in differences(before, now)] == ["app.seed", "lr"]


class TestTheAuthors:
    def test_what_the_operator_did_not_set_is_taken_from_the_app(self):
        own = {"num-server-rounds": 9, "seed": 5, "min-fit-clients": 4, "strategy": "Krum", "resume": "never"}
        settings = with_the_authors(resolve({"FL_SEED": "7"}).settings, own)
        assert (settings.num_rounds, settings.seed, settings.min_fit_clients) == (9, 7, 4)
        assert (settings.strategy, settings.resume) == ("app", "auto")
        assert not settings.is_set("FL_NUM_ROUNDS")

    @pytest.mark.parametrize("value", ["nine", 0, -1, 1.5, True])
    def test_what_is_no_value_of_the_variable_is_the_apps_own_affair(self, value):
        assert with_the_authors(resolve({}).settings, {"num-server-rounds": value}).num_rounds == 3

    def test_the_minimums_of_a_strategy_hold(self):
        settings = resolve({"FL_STRATEGY": "Krum", "FL_NUM_MALICIOUS": "1"}).settings
        assert with_the_authors(settings, {"min-fit-clients": 2}).min_fit_clients == settings.minimum_updates
