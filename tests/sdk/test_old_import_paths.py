"""Apps that import what apps use by its names of the last release still run, with a warning."""

import importlib
import sys

import pytest

MOVED = ["client", "torch_app", "data_source", "partition", "options"]


@pytest.mark.parametrize("name", MOVED)
def test_a_module_that_moved_is_the_same_under_its_old_name(name, monkeypatch):
    old, new = f"oneflower.flower.{name}", f"oneflower.sdk.{name}"
    monkeypatch.delitem(sys.modules, old, raising=False)
    with pytest.warns(DeprecationWarning, match=f"import {new}") as caught:
        importlib.import_module(old)
    assert sys.modules[old] is importlib.import_module(new)
    monkeypatch.delitem(sys.modules, old)
    assert len(caught) == 1


def test_the_warning_of_a_from_import_names_the_line_of_the_app():
    sys.modules.pop("oneflower.flower.options", None)
    with pytest.warns(DeprecationWarning, match=r"oneflower\.sdk\.options") as caught:
        from oneflower.flower.options import option  # noqa: F401
    assert caught[0].filename == __file__


def test_train_is_the_same_under_its_old_name():
    from oneflower import sdk

    with pytest.warns(DeprecationWarning, match=r"import oneflower\.sdk\.train"):
        from oneflower.flower import train
    assert train is sdk.train
