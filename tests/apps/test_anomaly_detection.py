"""The anomaly app: tables, errors, standardisation before round 1, and detection."""

import gzip
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from anomaly_detection import client, data, server
from anomaly_detection.model import Autoencoder, Layers
from flwr.app import Context, Message, MetricRecord, RecordDict

from oneflower.errors import AppError, TrainingError
from oneflower.lab.localgrid import LocalGrid
from oneflower.sdk.data_source import DataSource
from oneflower.sdk.moments import Moments, bounded, pooled

APP = Path(__file__).parents[2] / "apps" / "anomaly-detection"
COLUMNS = data.Columns(num_features=3, label="anomaly")
SMALL = {"num-features": 3, "hidden-size": 4, "code-size": 2, "checkpoint-enabled": False}


def table(rows=300, seed=0):
    """Rows whose third column is the sum of the others; in every tenth row, an anomaly, it is not."""
    rng = np.random.default_rng(seed)
    x = rng.normal(50, 10, (rows, 3))
    labels = (np.arange(rows) % 10 == 0).astype(int)
    x[:, 2] = x[:, 0] + x[:, 1] + labels * rng.choice([-90.0, 90.0], rows)
    return x, labels


def write_csv(path, x, labels=None):
    names, columns = ["a", "b", "c"], x
    if labels is not None:
        names, columns = [*names, "anomaly"], np.column_stack([x, labels])
    np.savetxt(path, columns, delimiter=",", header=",".join(names), comments="")


@pytest.fixture(autouse=True)
def _nothing_remembered():
    data.load_rows.cache_clear()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_csv(tmp_path / "rows.csv", *table())
    monkeypatch.setenv("ONEFLOWER_DATA", str(tmp_path))
    return tmp_path


def run(config=None, app=client.app, nodes=3):
    run_config = SMALL | {"num-server-rounds": 3, "seed": 1} | (config or {})
    for key in ("min-fit-clients", "min-evaluate-clients", "min-available-clients"):
        run_config.setdefault(key, nodes)
    grid = LocalGrid(app, clients=nodes, run_config=run_config)
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
    assert declared["threshold-quantile"] == 0.99


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet", ".npz"])
def test_every_table_format_gives_the_same_rows(tmp_path, suffix):
    x, labels = table(20)
    path = tmp_path / f"rows{suffix}"
    if suffix == ".npz":
        np.savez(path, x=x, y=labels)
    elif suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        columns = dict(zip(["a", "b", "c", "anomaly"], [*x.T, labels], strict=True))
        parquet.write_table(pyarrow.table(columns), path)
    else:
        write_csv(tmp_path / "plain", x, labels)
        text = (tmp_path / "plain").read_bytes()
        path.write_bytes(gzip.compress(text) if suffix == ".csv.gz" else text)
    rows = data.load_rows(tmp_path, COLUMNS)
    np.testing.assert_allclose(rows.values, x, rtol=1e-5)
    assert rows.labels.tolist() == labels.tolist()


def test_the_shuttle_sensors_are_the_default():
    rows = data.load_rows(None, data.Columns.from_run_config({}))
    assert rows.values.shape == (49097, 9)
    assert rows.labels.mean() == pytest.approx(0.0715, abs=1e-4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b,c\n1,2,x\n", "could not convert string 'x'"),
        ("a,b,c\n1,2,\n", "cannot be read"),
        ("a,b,c\n1,2\n", "3 names for 2 columns"),
        ("a,b\n1,2\n", r"shape \(1, 2\) without the label; expected at least one row of 3"),
        ("a,b,c\n1,2,nan\n", "not finite numbers"),
        ("a,b,c\n1,2,1e300\n", "not finite numbers"),
        ("a,b,c,anomaly\n1,2,3,7\n", "labels other than 0 and 1"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_with_the_reason(tmp_path, text, words):
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(AppError, match=words) as error:
        data.load_rows(tmp_path, COLUMNS)
    assert "rows.csv" in str(error.value)


@pytest.mark.parametrize("names", [[], ["a.csv", "b.csv"]])
def test_a_folder_without_exactly_one_table_is_refused(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("a,b,c\n1,2,3\n")
    with pytest.raises(AppError, match=f"holds {len(names)} tables"):
        data.load_rows(tmp_path, COLUMNS)


def test_the_model_is_standardised_with_all_training_rows_and_finds_the_anomalies(folder):
    result = run()
    x, labels = table()
    mean = result.arrays["mean"].numpy()
    np.testing.assert_allclose(mean, x[labels == 0].mean(axis=0), atol=3)
    metrics = result.evaluate_metrics_serverapp[3]
    assert metrics["roc_auc"] > 0.97
    assert sum(metrics[name] for name in metrics if name.endswith("tives")) == 30
    assert result.train_metrics_clientapp[3]["train_loss"] < result.train_metrics_clientapp[1]["train_loss"]


def test_the_statistics_do_not_change_during_training(folder):
    """Strategies treat them like any array; FedAdam's step is zero for an array that does not change."""
    for strategy in ("FedAvg", "FedAdam"):
        short, long = (run({"strategy": strategy, "num-server-rounds": rounds}) for rounds in (1, 3))
        np.testing.assert_array_equal(short.arrays["scale"].numpy(), long.arrays["scale"].numpy())


def test_without_labels_every_row_counts_as_normal_and_alarms_are_counted(folder):
    write_csv(folder / "rows.csv", table()[0])
    data.load_rows.cache_clear()
    metrics = run().evaluate_metrics_serverapp[3]
    assert set(metrics) == {"loss", "threshold", "flagged"}


def test_a_node_that_sends_no_sums_is_left_out_and_a_quorum_is_needed(folder, caplog):
    def bad_app(bad):
        def answer(message, context):
            if message.metadata.message_type == "query" and context.node_config["partition-id"] in bad:
                reply = RecordDict({"metrics": MetricRecord({"num-examples": 50})})
                return Message(content=reply, reply_to=message)
            return client.app(message, context)

        return answer

    loose = {"min-fit-clients": 2, "min-evaluate-clients": 2}
    assert run(loose, bad_app({1})).evaluate_metrics_serverapp[3]["roc_auc"] > 0.97
    with pytest.raises(TrainingError, match="the clients were asked 1 time before"):
        run(loose | {"round-retries": 0}, bad_app({1, 2}))


def test_a_constant_column_is_accepted(folder):
    x, labels = table()
    x[:, 1] = 7.0
    write_csv(folder / "rows.csv", x, labels)
    data.load_rows.cache_clear()
    assert np.isfinite(run().evaluate_metrics_serverapp[3]["loss"])


def test_the_error_of_a_sensor_spike_is_bounded_by_the_clip():
    model = Autoencoder(Layers(num_features=3, hidden=4, code=2))
    far, farther = (float(model(torch.full((1, 3), value))[0].detach()) for value in (1e3, 1e9))
    assert far == farther


class TestBoundedSums:
    """Sums of before round 1: one node that lies chooses nobody's mean and scale."""

    @pytest.fixture
    def honest(self):
        rng = np.random.default_rng(3)
        return [Moments.of(rng.normal(i, 1 + i, (200, 3)).astype(np.float32)) for i in range(4)]

    @pytest.mark.parametrize(
        ("mean", "square", "count"),
        [(1e12, 1.0, 200), (-1e300, 1e300, 200), (0.0, 1e24, 200), (2.0, 200.0, 10**15), (0.0, 0.0, 10**300)],
    )
    def test_one_liar_moves_the_mean_and_the_scale_by_a_bounded_amount(self, honest, mean, square, count):
        liar = Moments(count=count, mean=np.full(3, mean), squares=np.full(3, square))
        for order in ([*honest, liar], [liar, *honest]):
            found_mean, found_deviation = pooled(order)
            assert (np.abs(found_mean) < 20 * 4).all()
            assert (found_deviation < 100 * 4).all()
            assert (found_deviation > 0.1).all()

    def test_honest_sums_and_those_of_two_nodes_are_left_as_they_are(self, honest):
        for node, found in zip(honest, bounded(honest), strict=True):
            assert found.count == node.count
            assert found.mean.tobytes() == node.mean.tobytes()
            assert found.squares is node.squares
        liar = Moments(count=10, mean=np.full(3, 1e12), squares=np.ones(3))
        assert bounded([honest[0], liar]) == [honest[0], liar]
