"""FL_APP_CONFIG: what is read of pairs and of TOML."""

import pytest

from oneflower.settings.app_config import app_pairs


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("local-epochs=2", {"local-epochs": 2}),
        ("local-epochs=2 lr=0.1 fast=true", {"local-epochs": 2, "lr": 0.1, "fast": True}),
        ("model=small lr=0.1", {"model": "small", "lr": 0.1}),
        ("name='a b' other=\"c d\"", {"name": "a b", "other": "c d"}),
        ("strategy.fraction-train=0.5 strategy.fraction-evaluate=0.0", None),
        ("[strategy]\nfraction-train = 0.5\nfraction-evaluate = 0.0\n", None),
        ("strategy.fraction-train = 0.5\r\nstrategy.fraction-evaluate = 0.0", None),
        ("a=1\nb=small\n", {"a": 1, "b": "small"}),
        ("", {}),
    ],
)
def test_pairs_and_toml_give_the_same(text, found):
    nested = {"strategy.fraction-train": 0.5, "strategy.fraction-evaluate": 0.0}
    assert app_pairs(text) == (nested if found is None else found)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a=1 b", "'b' is not of the form key=value"),
        ("a=1 a=2", "given twice"),
        ("[a]\nb 1", "it is not TOML"),
        ("a=[1]", "neither a boolean, a number nor text"),
        ("a=inf", "not a finite number"),
        ("x" * 5000, "at most 4096"),
    ],
)
def test_what_is_neither_is_refused_with_the_reason(text, reason):
    with pytest.raises(ValueError, match=reason):
        app_pairs(text)
