"""The keys of an app's own: what FL_APP_CONFIG and --run-config may set."""

import pytest

from oneflower.errors import SettingsError
from oneflower.settings import app_values, keys_of_texts

OWN = {
    "local-epochs": 1,
    "learning-rate": 0.1,
    "model": "small",
    "fast": False,
    "strategy.fraction-train": 1.0,
}


def values(app_config="", *options):
    return app_values(keys_of_texts(app_config, options), OWN)


def test_values_have_the_declared_types():
    found = values("local-epochs=2 learning-rate=1 model=big fast=true")
    assert found == {"local-epochs": 2, "learning-rate": 1.0, "model": "big", "fast": True}
    assert type(found["learning-rate"]) is float


def test_tables_are_keys_with_dots():
    assert values("[strategy]\nfraction-train = 0.5") == {"strategy.fraction-train": 0.5}


def test_an_option_holds_before_the_variable():
    assert values("local-epochs=2", "local-epochs=3", "model=x") == {"local-epochs": 3, "model": "x"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("local-epoch=2", "no such key; did you mean local-epochs"),
        ("zzz=2", "it declares: fast, learning-rate, local-epochs, model, strategy.fraction-train"),
        ("local-epochs=1.5", "its value 1.5 is a number; expected a whole number"),
        ("local-epochs=two", "is text; expected a whole number, as in the app's default 1"),
        ("fast=1", "is a whole number; expected true or false"),
        ("model=1", "is a whole number; expected text"),
        ("seed=1", "a setting of oneflower; set FL_SEED instead"),
        ("num-server-rounds=1", "set FL_NUM_ROUNDS instead"),
        ("oneflower.seed=1", "set FL_SEED instead"),
        ("operator-set=1", "belongs to oneflower"),
        ("oneflower.x=1", "belongs to oneflower"),
    ],
)
@pytest.mark.parametrize("source", ["FL_APP_CONFIG", "--run-config"])
def test_what_cannot_be_set_is_refused_with_the_remedy(text, said, source):
    with pytest.raises(SettingsError) as caught:
        values(text) if source == "FL_APP_CONFIG" else values("", text)
    assert f"1. {source} sets {text.partition('=')[0]}: " in str(caught.value)
    assert said in str(caught.value)


def test_all_problems_are_reported_at_once():
    with pytest.raises(SettingsError, match=r"(?s)1\. FL_APP_CONFIG sets a.*2\. --run-config sets fast"):
        values("a=1", "fast=no")


def test_an_option_that_is_no_pair_is_refused():
    with pytest.raises(SettingsError, match="--run-config is 'x'"):
        values("", "x")
