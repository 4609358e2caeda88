"""The app in docs/bring-your-own-app.md runs, under every strategy that the page names."""

import importlib
import re
import sys
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict

from oneflower.flower.fab import build_fab
from oneflower.lab.localgrid import LocalGrid

PAGE = Path(__file__).parents[2] / "docs" / "bring-your-own-app.md"
FILES = re.compile(r'^```(?:python|toml) title="(\S+)"\n(.*?)^```$', re.DOTALL | re.MULTILINE)


@pytest.fixture
def app(tmp_path, monkeypatch):
    for name, text in FILES.findall(PAGE.read_text(encoding="utf-8")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "blobs" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "blobs"]:
        del sys.modules[name]


def run(**settings):
    client, server = (importlib.import_module(f"blobs.{name}") for name in ("client_app", "server_app"))
    config = {"num-server-rounds": 3, "seed": 1, "local-epochs": 2, "min-available-clients": 3} | settings
    grid = LocalGrid(client.app, clients=3, run_config=config)
    context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=config)
    results = []
    real = server.train
    server.train = lambda *args, **named: results.append(real(*args, **named))
    server.app(grid, context)
    server.train = real
    return results[0]


def test_the_page_shows_a_complete_app(app):
    assert {path.name for path in app.rglob("*.*")} >= {"pyproject.toml", "task.py"}
    assert build_fab(app).id == "me/blobs"


def test_the_app_learns_and_repeats(app):
    first, again = run(), run()
    assert first.evaluate_metrics_serverapp[3]["accuracy"] > 0.9
    assert {name: array.data for name, array in first.arrays.items()} == {
        name: array.data for name, array in again.arrays.items()
    }


def test_the_app_honours_mu_and_the_servers_learning_rate(app):
    plain = run().evaluate_metrics_serverapp[3]["loss"]
    assert run(strategy="FedProx", **{"proximal-mu": 5.0}).evaluate_metrics_serverapp[3]["loss"] > plain
    adam = [run(strategy="FedAdam", **{"client-lr": lr}).evaluate_metrics_serverapp[3] for lr in (0.1, 0.01)]
    assert adam[0] != adam[1]
