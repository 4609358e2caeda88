"""Every app under every strategy: two rounds in this process; each round's model is finite and changes."""

import importlib

import numpy as np
import pytest
from flwr.app import Context, RecordDict
from tiny_model import write_pairs, write_tiny_model

from oneflower.aggregation import SPECS
from oneflower.lab.localgrid import LocalGrid
from oneflower.sdk import train
from oneflower.settings import STRATEGIES

# Robust rules need their number of nodes; for the others two show as much and are sooner done.
NODES = {spec.name: 2 if spec.weights_by_examples else spec.example_clients for spec in SPECS}


def image_data(folder):
    rng = np.random.default_rng(0)
    labels = np.arange(240) % 3
    images = rng.random((240, 8, 8), dtype=np.float32) / 4
    images[np.arange(240), labels] += 0.5
    np.savez(folder / "images.npz", x=images, y=labels)
    return {"image-size": 8, "num-classes": 3, "batch-size": 8, "local-epochs": 1}


def table_data(folder):
    rng = np.random.default_rng(0)
    np.savez(folder / "rows.npz", x=rng.normal(5, 3, (600, 3)), y=np.arange(600) % 20 == 0)
    return {"num-features": 3}


def text_data(folder):
    write_pairs(folder / "pairs.jsonl")
    model = write_tiny_model(folder / "tiny")
    return {"base-model": str(model), "partitioning": "iid", "lora-rank": 2, "max-length": 32, "max-steps": 2}


def classes_data(folder):
    rng = np.random.default_rng(0)
    x = rng.normal(5, 3, (300, 3))
    np.savez(folder / "rows.npz", x=x, y=(x.sum(1) > 15).astype(int))
    return {"num-features": 3}


CASES = {
    "tabular-classification": classes_data,
    "image-classification": image_data,
    "anomaly-detection": table_data,
    "llm-fine-tuning": text_data,
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run an app's own server and clients in this process; every run is a new ServerApp."""
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("ONEFLOWER_DATA", str(tmp_path / "data"))
    own = {}

    def run(app, nodes, **settings):
        if app == "tabular-classification":
            pytest.importorskip("sklearn")
        package = app.replace("-", "_")
        client, server = (importlib.import_module(f"{package}.{name}") for name in ("client", "server"))
        if app not in own:
            own[app] = CASES[app](tmp_path / "data")
        run_config = own[app] | {key.replace("_", "-"): value for key, value in settings.items()}
        run_config |= dict.fromkeys(
            ("min-fit-clients", "min-available-clients", "min-evaluate-clients"), nodes
        )
        results = []
        monkeypatch.setattr(server, "train", lambda *args, **named: results.append(train(*args, **named)))
        grid = LocalGrid(client.app, clients=nodes, run_config=run_config)
        context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=run_config)
        server.app(grid, context)
        return results[0]

    return run


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("app", CASES)
def test_an_app_trains_under_a_strategy(app, strategy, run):
    result = run(app, NODES[strategy], strategy=strategy, num_server_rounds=2, num_malicious=1)
    losses = {number: metrics["loss"] for number, metrics in result.evaluate_metrics_serverapp.items()}
    assert sorted(losses) == [0, 1, 2]
    assert len(set(losses.values())) == 3
    assert all(np.isfinite(array.numpy()).all() for array in result.arrays.values())
    assert set(result.evaluate_metrics_clientapp) == {1, 2}


@pytest.mark.parametrize("strategy", ["FedAvg", "FedAdam", "FLTrust"])
@pytest.mark.parametrize("app", CASES)
def test_a_resumed_training_ends_with_the_bytes_of_one_that_was_not_interrupted(app, strategy, run, tmp_path):
    common = {"strategy": strategy, "checkpoint_enabled": True, "checkpoint_interval": 1, "server_lr": 0.01}
    whole = run(app, 2, num_server_rounds=3, checkpoint_path=str(tmp_path / "whole"), **common)
    common["checkpoint_path"] = str(tmp_path / "parts")
    run(app, 2, num_server_rounds=1, **common)
    resumed = run(app, 2, num_server_rounds=3, **common)
    assert {name: array.data for name, array in resumed.arrays.items()} == {
        name: array.data for name, array in whole.arrays.items()
    }
