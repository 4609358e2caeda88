"""The XGBoost app is stock Flower; its trees travel as bytes, and are the same after a resume."""

import ast
import random
import tomllib
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, RecordDict

from oneflower.checkpoints import export_model
from oneflower.lab.localgrid import LocalGrid

xgboost = pytest.importorskip("xgboost")
from xgboost_bagging import client, data, model, server  # noqa: E402 - without XGBoost there is none

APP = Path(__file__).parents[2] / "apps" / "xgboost-bagging"
DECLARED = tomllib.loads((APP / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]


def table(count=600, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(5, 3, (count, 4)).astype(np.float32)
    return x, (x[:, 0] * x[:, 1] > 30).astype(np.int64)


@pytest.fixture(autouse=True)
def _nothing_remembered():
    data.load.cache_clear()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    x, y = table()
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    monkeypatch.setenv("ONEFLOWER_DATA", str(tmp_path))
    return tmp_path


def run(monkeypatch, **config):
    """Run the app with Flower's own strategy and loop."""
    run_config = DECLARED | {"num-server-rounds": 4, "seed": 1} | config
    results = []
    real = server.FedXgbBagging.start
    monkeypatch.setattr(
        server.FedXgbBagging, "start", lambda self, **given: results.append(real(self, **given))
    )
    random.seed(0)
    grid = LocalGrid(client.app, clients=2, run_config=run_config)
    server.app(grid, Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=run_config))
    monkeypatch.undo()
    return results[0]


def test_no_module_imports_oneflower():
    for path in APP.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.partition(".")[0] == "oneflower"], path


@pytest.mark.parametrize("parallel", [1, 3])
def test_each_client_adds_its_trees_in_each_round_and_the_model_learns(folder, monkeypatch, parallel):
    result = run(monkeypatch, **{"parallel-trees": parallel})
    found = model.booster(result.arrays)
    assert len(found.get_dump()) == 4 * 2 * parallel
    metrics = result.evaluate_metrics_serverapp
    assert metrics[4]["loss"] < metrics[1]["loss"]
    assert metrics[4]["roc_auc"] > 0.95
    assert set(result.evaluate_metrics_clientapp[4]) == {"eval_loss", "eval_roc_auc"}


def test_the_model_that_is_exported_predicts_the_same(folder, monkeypatch, tmp_path):
    result = run(monkeypatch)
    arrays = {name: array.numpy() for name, array in result.arrays.items()}
    export_model(arrays, tmp_path / "model.ubj", "ubj")
    rows = model.matrix(table(50, seed=1))
    exported = xgboost.Booster(model_file=str(tmp_path / "model.ubj"))
    np.testing.assert_array_equal(exported.predict(rows), model.booster(result.arrays).predict(rows))


def test_the_shuttle_sensors_are_the_default_and_no_client_trains_on_the_servers_rows(monkeypatch):
    monkeypatch.delenv("ONEFLOWER_DATA", raising=False)
    config = DECLARED | {"data-path": "/nowhere"}
    held_out = server.server_rows(config)
    shares = [client.client_rows(config, {"partition-id": n, "num-partitions": 3}) for n in range(3)]
    counts = [len(rows[1]) for share in shares for rows in share]
    assert sum(counts) + len(held_out[1]) == 49097
    assert len(held_out[1]) == pytest.approx(49097 / 5, abs=1)


def test_a_table_of_the_nodes_own_is_used_whole(folder, monkeypatch):
    monkeypatch.delenv("ONEFLOWER_DATA")
    config = DECLARED | {"data-path": str(folder)}
    training, validation = client.client_rows(config, {"partition-id": 1, "num-partitions": 3})
    assert len(training[1]) + len(validation[1]) == 600
    assert len(server.server_rows(config)[1]) == 600


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "has no column anomaly"),
        ("a,anomaly\n1,2\n", "one label 0 or 1"),
        ("a,anomaly\nnan,1\n", "expected finite numbers"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_with_the_reason(tmp_path, text, words):
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        data.load(tmp_path, "anomaly")
    (tmp_path / "more.csv").write_text(text)
    with pytest.raises(ValueError, match="holds 2 tables"):
        data.load(tmp_path, "x")
