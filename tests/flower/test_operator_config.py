"""A run that was submitted without the operator's settings gets them from a file; its own values stay."""

import json
from types import SimpleNamespace

import pytest
from flwr.app import Context, RecordDict
from flwr.serverapp import ServerApp

from oneflower.flower.operator_config import completed
from oneflower.settings import resolve, run_config, training_config
from oneflower.stock.hooks import installed

OPERATOR = {"FL_NUM_ROUNDS": "9", "FL_CHECKPOINT_ENABLED": "YES", "FL_SEED": "5"}


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "run-config.json"
    path.write_text(json.dumps(run_config(resolve({}, OPERATOR).settings)))
    monkeypatch.setenv("ONEFLOWER_RUN_CONFIG", str(path))
    return path


def test_a_run_without_oneflowers_keys_trains_as_the_operator_says(file):
    config = training_config(completed({"own-key": 1}))
    assert (config.num_rounds, config.checkpoint_enabled, config.seed) == (9, True, 5)
    assert config.is_set("FL_NUM_ROUNDS")


def test_what_the_operator_did_not_set_is_the_runs(file):
    config = training_config(completed({"num-server-rounds": 3, "min-fit-clients": 1, "strategy": "mine"}))
    assert (config.num_rounds, config.min_fit_clients, config.strategy) == (9, 1, "app")
    assert completed({"num-server-rounds": 3, "strategy": "mine"})["strategy"] == "mine"


def test_a_run_that_oneflower_has_submitted_stays_as_it_is(file):
    given = {"oneflower.num-server-rounds": 3, "own-key": 1}
    assert completed(given) == given


@pytest.mark.parametrize("text", [None, "{", "[]", '{"num-server-rounds": [9], "seed": null}'])
def test_without_a_good_file_nothing_is_added(file, text):
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    assert completed({"own-key": 1}) == {"own-key": 1}


def test_without_the_variable_nothing_is_added(monkeypatch):
    monkeypatch.delenv("ONEFLOWER_RUN_CONFIG", raising=False)
    assert completed({"own-key": 1}) == {"own-key": 1}


def test_a_serverapp_is_called_with_them(file):
    """So a stock app has checkpoints from its first run on."""
    seen = []
    app = ServerApp()

    @app.main()
    def main(_grid, context):
        seen.append(dict(context.run_config))

    context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config={"own-key": 1})
    with installed():
        app(SimpleNamespace(run=SimpleNamespace(fab_id="tests/own-app")), context)
    assert training_config(seen[0]).checkpoint_enabled is True
    assert seen[0]["own-key"] == 1
