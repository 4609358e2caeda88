"""`oneflower app check` of stock apps of NumPy: what reads their replies, and where their code runs."""

from itertools import count

import pytest

from oneflower.apps_catalogue import write_app
from oneflower.lab.app_check import check_app
from oneflower.settings import resolve, run_config

NUMBERS = count()
PROJECT = """\
[project]
name = "{name}"
version = "1.0.0"

[tool.flwr.app]
publisher = "me"

[tool.flwr.app.components]
serverapp = "{name}.server:app"
clientapp = "{name}.client:app"

[tool.flwr.app.config]
rate = 0.1
"""
SERVER = """\
import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg, FedXgbBagging, FedXgbCyclic

app = ServerApp()


@app.main()
def main(grid, context):
    # before
    FedAvg().start(grid=grid, initial_arrays=ArrayRecord([np.zeros(3, np.float32)]), num_rounds=1)
"""
CLIENT = """\
import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message, context):
    new = message.content["arrays"].to_numpy_ndarrays()[0] + np.float32(context.run_config["rate"])
    # trained
    content = {"arrays": ArrayRecord([new]), "metrics": MetricRecord({"num-examples": 3})}
    return Message(RecordDict(content), reply_to=message)


@app.evaluate()
def evaluate(message, context):
    metrics = MetricRecord({"num-examples": 3, "loss": 1.0})
    # evaluated
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
"""
FIRST, TRAINED = "np.zeros(3, np.float32)", "    # trained\n"


@pytest.fixture
def folder(tmp_path):
    # A name of its own: Flower leaves the last app that it loaded on Python's path.
    folder = tmp_path / f"numpyapp{next(NUMBERS)}"
    package = folder / folder.name
    package.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT.format(name=folder.name))
    (package / "__init__.py").write_text("")
    (package / "server.py").write_text(SERVER)
    (package / "client.py").write_text(CLIENT)
    return folder


def change(folder, part, old, new):
    path = folder / folder.name / f"{part}.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def findings(folder, tmp_path, **variables):
    settings = run_config(resolve(variables).settings)
    found = check_app(folder, run_config=settings, clients=4, home=tmp_path / "home")
    return {each.check: each for each in found}


def test_a_stock_app_of_numpy_has_everything_but_the_proximal_term(folder, tmp_path):
    found = findings(folder, tmp_path)
    bad = {name: each.outcome.value for name, each in found.items() if each.outcome != "ok"}
    assert bad == {"proximal-mu": "warning", "learning-rate": "warning"}


@pytest.mark.parametrize("strategy", ["FedProx", "FedMedian", "Krum"])
def test_a_dtype_that_the_rule_of_fl_strategy_refuses_is_a_problem(folder, tmp_path, strategy):
    """N2: "a reply that the app's own server reads", and every client was quarantined."""
    change(folder, "client", TRAINED, "    new = new.astype(np.float64)\n")
    found = findings(folder, tmp_path, FL_STRATEGY=strategy)
    assert found["train-reply"].outcome == "problem"
    assert f"FL_STRATEGY={strategy} refuses" in found["train-reply"].found
    assert "array '0' has dtype float64; expected float32" in found["train-reply"].found
    assert "astype" in found["train-reply"].fix
    assert found["proximal-mu"].outcome == ("problem" if strategy == "FedProx" else "warning")


def test_a_dtype_that_the_apps_own_strategy_reads_is_a_warning(folder, tmp_path):
    change(folder, "client", TRAINED, "    new = new.astype(np.float64)\n")
    found = findings(folder, tmp_path)
    assert found["train-reply"].outcome == "warning"
    assert "array '0' has dtype float64; expected float32" in found["train-reply"].found
    assert found["proximal-mu"].outcome == "warning"
    assert found["verdict"].found.startswith("it runs unchanged")


def test_a_shape_that_the_rule_of_fl_strategy_refuses_is_a_problem(folder, tmp_path):
    change(folder, "client", TRAINED, "    new = np.append(new, new)\n")
    found = findings(folder, tmp_path, FL_STRATEGY="Krum")
    assert found["train-reply"].outcome == "problem"
    assert "array '0' has shape [6]; expected [3]" in found["train-reply"].found
    assert "Leave FL_STRATEGY unset" in found["train-reply"].fix


def test_the_apps_own_name_for_the_number_of_examples_is_read(folder, tmp_path):
    change(folder, "server", "FedAvg()", 'FedAvg(weighted_by_key="rows")')
    change(folder, "client", "num-examples", "rows")
    for variables in ({}, {"FL_STRATEGY": "Krum"}):
        found = findings(folder, tmp_path, **variables)
        assert "1 arrays and rows 3" in found["train-reply"].found
        assert found["evaluate-reply"].outcome == "ok"


@pytest.mark.parametrize("name", ["FedXgbBagging", "FedXgbCyclic"])
def test_a_rule_in_place_of_a_strategy_of_trees_is_a_problem_of_the_settings(folder, tmp_path, name):
    """N3: "it runs unchanged", and ten attempts in which everybody is quarantined."""
    change(folder, "server", "FedAvg().", f"{name}().")
    change(folder, "server", FIRST, "np.zeros(0, np.uint8)")
    change(folder, "client", TRAINED, "    new = np.frombuffer(b'{}', np.uint8)\n")
    found = findings(folder, tmp_path, FL_STRATEGY="Krum")
    assert found["server"].outcome == "problem"
    assert f"FL_STRATEGY=Krum cannot combine the model of this app: it starts {name}" in found["server"].found
    assert "settings" in found["server"].fix
    assert findings(folder, tmp_path)["train-reply"].outcome == "ok"


@pytest.mark.parametrize("framework", ["sklearn", "tensorflow", "jax"])
def test_the_apps_of_new_train_under_every_strategy_of_oneflower(tmp_path, framework):
    """N2: the app of scikit-learn started from float64, and its clients replied with float32."""
    pytest.importorskip(framework)
    found = findings(write_app(f"starter{next(NUMBERS)}", tmp_path, framework), tmp_path, FL_STRATEGY="Krum")
    assert found["train-reply"].outcome == "ok"
    assert "as they must be" in found["train-reply"].found
