"""The tabular app: tables, scikit-learn's network as arrays, standardisation, the proximal term, accuracy."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, Context, RecordDict
from flwr.common import Array

from oneflower.errors import AppError
from oneflower.lab.localgrid import LocalGrid
from oneflower.sdk.client import RoundInfo
from oneflower.sdk.data_source import DataSource
from oneflower.sdk.options import LocalOptions

pytest.importorskip("sklearn")
from sklearn.linear_model import LogisticRegression
from tabular_classification import client, data, server
from tabular_classification.model import Classifier, Layers, initial_arrays

APP = Path(__file__).parents[2] / "apps" / "tabular-classification"
COLUMNS = data.Columns(num_features=3, num_classes=2, label="label", dataset="breast-cancer")
LAYERS = Layers(num_features=3, num_classes=2, hidden=0)
DEEP = Layers(num_features=3, num_classes=4, hidden=5)


def rows(count=200, classes=2, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (count, 3)).astype(np.float32)
    return data.Rows(values=x, labels=np.digitize(x.sum(1), np.linspace(-1, 1, classes - 1)))


@pytest.fixture(autouse=True)
def _nothing_remembered():
    data.load_rows.cache_clear()


def arrays_of(record):
    return {name: array.numpy() for name, array in record.items()}


def info(number=1, mu=0.0):
    return RoundInfo(round=number, seed=7, lr=None, proximal_mu=mu, partition_id=0, num_partitions=1)


def run(config=None, nodes=3):
    run_config = {"num-server-rounds": 5, "seed": 42, "checkpoint-enabled": False} | (config or {})
    for key in ("min-fit-clients", "min-evaluate-clients", "min-available-clients"):
        run_config.setdefault(key, nodes)
    grid = LocalGrid(client.app, clients=nodes, run_config=run_config)
    context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=run_config)
    results = []
    real = server.train
    try:
        server.train = lambda *args, **named: results.append(real(*args, **named))
        server.app(grid, context)
    finally:
        server.train = real
    return results[0]


def test_the_apps_own_keys_are_declared_with_the_defaults_in_the_code():
    declared = tomllib.loads((APP / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    assert Layers.from_run_config(declared) == Layers.from_run_config({})
    assert data.Columns.from_run_config(declared) == data.Columns.from_run_config({})
    assert DataSource.from_config(declared) == DataSource.from_config({})
    assert client.DEFAULTS.from_run_config(declared) == client.DEFAULTS


@pytest.mark.parametrize(
    ("dataset", "features", "classes", "hidden", "at_least"),
    [("breast-cancer", 30, 2, 0, 0.96), ("digits", 64, 10, 32, 0.9), ("wine", 13, 3, 0, 0.9)],
)
def test_the_data_sets_of_scikit_learn_are_learnt(dataset, features, classes, hidden, at_least):
    keys = {"dataset": dataset, "num-features": features, "num-classes": classes, "hidden-size": hidden}
    metrics = run(keys).evaluate_metrics_serverapp[5]
    assert metrics["accuracy"] > at_least
    assert ("roc_auc" in metrics) == (classes == 2)


def test_a_client_trains_as_scikit_learn_does_on_the_standardised_rows():
    """With many epochs: the optimum of the loss, which another solver finds as well."""
    table = rows(400)
    arrays = initial_arrays(LAYERS, seed=1)
    model = Classifier(LAYERS, arrays, 0.5)
    options = LocalOptions(epochs=60, batch_size=400, lr=0.5)
    model.fit(table, client.batches(400, options, info()), lr=0.5, proximal_mu=0)
    reference = LogisticRegression(C=np.inf, max_iter=60).fit(table.values, table.labels)
    mine = arrays_of(model.arrays)["coef_0"][:, 0]
    cosine = mine @ reference.coef_[0] / np.linalg.norm(mine) / np.linalg.norm(reference.coef_[0])
    assert cosine > 0.995


@pytest.mark.parametrize("layers", [LAYERS, DEEP])
def test_one_step_with_the_proximal_term_is_sgd_on_the_loss_with_it(layers):
    """From weights that are not the global ones: the second step of two is compared."""
    table = rows(32, layers.num_classes)
    arrays = initial_arrays(layers, seed=1)
    everything = np.arange(32)
    lr, mu = 0.1, 3.0

    def after(steps, mu):
        model = Classifier(layers, arrays, lr)
        model.fit(table, [everything] * steps, lr=lr, proximal_mu=mu)
        return arrays_of(model.arrays)

    start, first, plain, proximal = arrays_of(arrays), after(1, 0.0), after(2, 0.0), after(2, mu)
    for name in first:
        if name.startswith(("coef", "intercept")):
            expected = plain[name] - lr * mu * (first[name] - start[name])
            np.testing.assert_allclose(proximal[name], expected, rtol=1e-4, atol=1e-6)
            assert not np.array_equal(first[name], start[name])


def test_the_arrays_are_float32_and_the_same_for_the_same_round():
    table = rows()
    arrays = initial_arrays(DEEP, seed=1)
    options = LocalOptions(epochs=1, batch_size=16, lr=0.1)

    def trained(number):
        model = Classifier(DEEP, arrays, 0.1)
        model.fit(table, client.batches(len(table), options, info(number)), lr=0.1, proximal_mu=0)
        return model.arrays

    first, again, other = trained(1), trained(1), trained(2)
    assert {name: array.data for name, array in first.items()} == {n: a.data for n, a in again.items()}
    assert first["coef_0"].data != other["coef_0"].data
    assert {array.dtype for array in first.values()} == {"float32"}
    assert {name: array.shape for name, array in first.items()} == DEEP.shapes


def test_a_loss_that_is_not_finite_is_an_error_with_the_remedy():
    table = rows(classes=4)
    model = Classifier(DEEP, initial_arrays(DEEP, seed=1), 1e30)
    options = LocalOptions(epochs=2, batch_size=16, lr=1e30)
    with pytest.raises(AppError, match="Lower the learning rate"):
        model.fit(table, client.batches(200, options, info()), lr=1e30, proximal_mu=0)


def test_the_arrays_of_another_model_are_refused():
    arrays = initial_arrays(LAYERS, seed=1)
    with pytest.raises(AppError, match="not this model's"):
        Classifier(DEEP, arrays)
    del arrays["scale"]
    with pytest.raises(AppError, match="not this model's"):
        Classifier(LAYERS, arrays)


def test_one_absurd_value_does_not_dominate():
    table = rows(1)
    arrays = initial_arrays(LAYERS, seed=1)
    arrays["scale"] = Array(np.full(3, 1e-20, np.float32))
    assert np.isfinite(Classifier(LAYERS, ArrayRecord(dict(arrays))).score(table)[0])


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_a_table_of_the_operators_is_read(tmp_path, suffix, monkeypatch):
    table = rows(60)
    if suffix == ".npz":
        np.savez(tmp_path / "t.npz", x=table.values, y=table.labels)
    else:
        lines = [f"{a},{b},{c},{y}" for (a, b, c), y in zip(table.values, table.labels, strict=True)]
        (tmp_path / "t.csv").write_text("\n".join(["a,b,c,label", *lines]))
    found = data.load_rows(tmp_path, COLUMNS)
    np.testing.assert_allclose(found.values, table.values)
    np.testing.assert_array_equal(found.labels, table.labels)
    monkeypatch.setenv("ONEFLOWER_DATA", str(tmp_path))
    assert run({"num-features": 3}, nodes=2).evaluate_metrics_serverapp[5]["accuracy"] > 0.5


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (np.zeros((4, 3)), None, "has no labels: expected a column label"),
        (np.zeros((4, 2)), np.zeros(4), "expected at least one row of 3 features"),
        (np.full((4, 3), np.nan), np.zeros(4), "not finite numbers"),
        (np.zeros((4, 3)), np.array([0, 1, 2, 0]), "whole numbers from 0 to 1"),
        (np.zeros((4, 3)), np.array([0, 0.5, 1, 0]), "whole numbers from 0 to 1"),
        (np.zeros((4, 3)), np.zeros(3), "not one per row"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_with_the_reason(tmp_path, x, y, words):
    np.savez(tmp_path / "t.npz", **{"x": x} if y is None else {"x": x, "y": y})
    with pytest.raises(AppError, match=words):
        data.load_rows(tmp_path, COLUMNS)


def test_a_server_without_rows_for_this_model_leaves_central_evaluation_out(caplog):
    """Each node has its own table with four features; the server's machine has none."""
    run_config = {"num-features": 4}
    context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=run_config)
    assert server.evaluation(context, Layers.from_run_config(run_config), 1) is None
