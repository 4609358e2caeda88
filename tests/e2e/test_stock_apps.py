"""Stock Flower apps, with no changed line: they train, and a kill in the middle changes no byte.

These are the light ones of `tests/data/stock_apps`; `benchmarks/compatibility.py` tries all of them.
"""

import importlib.util
import sys
from pathlib import Path

import pytest

from . import stock_apps as stock

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

LIGHT = ("numpy", "sklearn", "custom-strategy", "own-loop", "legacy", "client-state", "analytics")
CLUSTERS = ("custom-strategy", "own-loop")


def shape_of(name):
    shape = stock.BY_NAME[name]
    if shape.lacks:
        pytest.skip(f"not installed: {', '.join(shape.lacks)}")
    return shape


def check(shape, engine, folder, kills):
    before = shape.digest()
    whole = stock.uninterrupted(shape, engine, folder / "whole")
    assert stock.learns(shape, whole), whole
    killed = stock.interrupted(shape, engine, folder / "killed")
    assert killed.kept == whole.kept
    assert killed.resumed >= kills, "it began with round 1 again"
    assert shape.digest() == before
    return whole


@pytest.mark.parametrize("name", LIGHT)
def test_a_simulated_stock_app_that_is_killed_ends_with_the_same_bytes(name, tmp_path):
    check(shape_of(name), stock.SIMULATE, tmp_path, kills=1)


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_stock_app_on_a_cluster_that_is_killed_ends_with_the_bytes_of_a_simulation(name, tmp_path):
    shape = shape_of(name)
    whole = stock.uninterrupted(shape, stock.SIMULATE, tmp_path / "simulated")
    killed = stock.interrupted(shape, stock.UP, tmp_path / "killed")
    assert killed.kept == whole.kept
    assert killed.resumed >= 2, "it began with round 1 again"


@pytest.mark.parametrize("shape", stock.SHAPES, ids=lambda shape: shape.name)
def test_no_stock_app_names_oneflower(shape):
    assert not shape.imports_oneflower()
    assert (shape.folder / "pyproject.toml").is_file()


def test_every_folder_of_a_stock_app_is_tried():
    assert {path.name for path in stock.APPS.iterdir()} == set(stock.BY_NAME)


def test_the_page_is_written_from_what_was_tried(monkeypatch):
    benchmark = benchmark_module(monkeypatch)
    outcome = {"trains": True, "equal_after_kill": False, "resumed": 0, "differs": ["loss"], "problem": ""}
    row = {"unchanged": True, "engines": {stock.SIMULATE: outcome}}
    page = benchmark.page({"numpy": row}, {"keras": "not installed: keras"})
    line = next(each for each in page.splitlines() if each.startswith("| `numpy`"))
    assert "| yes | yes | **no** | not tried | not tried | its own results: `loss` |" in line
    assert "not installed: keras" in page


def benchmark_module(monkeypatch):
    path = Path(__file__).parents[2] / "benchmarks" / "compatibility.py"
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("compatibility", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "compatibility", module)
    spec.loader.exec_module(module)
    return module
