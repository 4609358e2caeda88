"""`oneflower app check` of stock apps of NumPy: what reads their replies, and where their code runs."""

import json
from itertools import count
from pathlib import Path

import pytest
from typer.testing import CliRunner

from oneflower.apps_catalogue import write_app
from oneflower.cli.main import app as command
from oneflower.errors import SettingsError
from oneflower.lab.app_check import check_app
from oneflower.lab.app_check.workplaces import working_copy
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
OWN_LOOP = """
    from flwr.app import ConfigRecord, Message, RecordDict
    content = RecordDict({"arrays": ArrayRecord([np.zeros(3, np.float32)]), "config": ConfigRecord()})
    grid.send_and_receive([Message(content, node, "train") for node in grid.get_node_ids()])
"""
FIRST, TRAINED = "np.zeros(3, np.float32)", "    # trained\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "here" / "within").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "within")
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
    assert found["settings"].outcome == "problem"
    expected = f"FL_STRATEGY=Krum cannot combine the model of this app: it starts {name}"
    assert expected in found["settings"].found
    assert findings(folder, tmp_path)["train-reply"].outcome == "ok"


@pytest.mark.parametrize("framework", ["sklearn", "tensorflow", "jax"])
def test_the_apps_of_new_train_under_every_strategy_of_oneflower(tmp_path, framework):
    """N2: the app of scikit-learn started from float64, and its clients replied with float32."""
    pytest.importorskip(framework)
    found = findings(write_app(f"starter{next(NUMBERS)}", tmp_path, framework), tmp_path, FL_STRATEGY="Krum")
    assert found["train-reply"].outcome == "ok"
    assert "as they must be" in found["train-reply"].found


def test_each_run_of_the_server_has_a_working_directory_of_its_own(folder, tmp_path, monkeypatch):
    """N5: FlowerTune's apps make a folder named by the second, and the check runs the server twice."""
    own = "import os\n    os.makedirs('results/2026-11-27_01-53-00')\n    os.rename('seen.txt', 'gone.txt')"
    change(folder, "server", "    # before", f"    {own}")
    change(folder, "client", TRAINED, "    open('client.txt', 'w').close()\n")
    caller = tmp_path / "caller"
    (caller / "results").mkdir(parents=True)
    (caller / "seen.txt").write_text("here")
    monkeypatch.chdir(caller)
    found = findings(folder, tmp_path)
    assert found["verdict"].found.startswith("it runs unchanged")
    assert Path.cwd() == caller
    assert sorted(path.name for path in caller.rglob("*")) == ["results", "seen.txt"]


def test_relative_paths_lead_to_what_the_caller_has(folder, tmp_path, monkeypatch):
    reads = (
        "[open(path).close() for path in ('data/rows.csv', 'large.bin', '../beside.txt', '../../top.txt')]"
    )
    change(folder, "server", "    # before", f"    {reads}")
    change(folder, "server", "app = ", f"{reads}\napp = ")
    change(folder, "client", TRAINED, f"    {reads}\n")
    caller = tmp_path / "middle" / "caller"
    (caller / "data").mkdir(parents=True)
    files = [caller / "data" / "rows.csv", caller.parent / "beside.txt", tmp_path / "top.txt"]
    for path in files:
        path.write_text("1,2")
    (caller / "large.bin").write_text("x" * 1_000_000)
    monkeypatch.chdir(caller)
    assert findings(folder, tmp_path)["verdict"].found.startswith("it runs unchanged")


def test_a_small_file_that_the_server_writes_over_is_not_the_callers(folder, tmp_path, monkeypatch):
    change(folder, "server", "    # before", "    open('results.json', 'w').close()")
    (tmp_path / "results.json").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert findings(folder, tmp_path)["verdict"].found.startswith("it runs unchanged")
    assert (tmp_path / "results.json").read_text() == "mine"


def test_a_folder_with_many_entries_is_a_link(tmp_path):
    many = tmp_path / "caller" / "many"
    many.mkdir(parents=True)
    for number in range(600):
        (many / str(number)).touch()
    copy = working_copy(tmp_path / "caller", tmp_path / "home" / "0")
    assert (copy / "many").is_symlink()
    assert (copy / "many" / "7").is_file()


def test_evaluate_gets_the_state_that_train_has_left(folder, tmp_path):
    """N6: KeyError where evaluate reads what train kept, in an app that trains well."""
    counts = """
    rounds = context.state["kept"]["rounds"] if "kept" in context.state else 0
    context.state["kept"] = MetricRecord({"rounds": rounds + 1})
"""
    change(folder, "client", TRAINED, counts)
    change(folder, "client", "    # evaluated", "    metrics['rounds'] = context.state['kept']['rounds']")
    change(folder, "client", '"loss": 1.0', '"loss": 1.0 if context.state["kept"]["rounds"] == 1 else "two"')
    found = findings(folder, tmp_path)
    assert found["evaluate-reply"].outcome == "ok"
    assert found["determinism"].outcome == "ok"


@pytest.mark.parametrize("part", [TRAINED, "    # evaluated\n"])
def test_the_error_of_a_client_is_its_own_text(folder, tmp_path, part):
    """N17: the line by which oneflower marks an error reply was shown."""
    change(folder, "client", part, "    raise KeyError('count')\n")
    found = findings(folder, tmp_path)
    said = found["train-reply" if part == TRAINED else "evaluate-reply"]
    assert said.outcome == "problem"
    assert "count" in said.found
    assert not any("oneflower-client" in each.found for each in found.values())


def test_a_model_is_named_where_there_is_one(folder, tmp_path):
    """N21: a server that sends an empty array has no model before round 1."""
    assert findings(folder, tmp_path)["initial-model"].found == "one seed gives one model before round 1"
    change(folder, "server", "FedAvg().", "FedXgbBagging().")
    change(folder, "server", FIRST, "np.zeros(0, np.uint8)")
    found = findings(folder, tmp_path)["initial-model"]
    assert found.outcome == "skipped"
    assert "starts without a model" in found.found


def test_the_arrays_of_an_own_loop_are_no_model(folder, tmp_path):
    path = folder / folder.name / "server.py"
    before, _ = path.read_text().split("    # before")
    path.write_text(before + OWN_LOOP)
    found = findings(folder, tmp_path)["initial-model"]
    assert found.found == "one seed gives the same arrays in the first training message"


@pytest.mark.parametrize(
    ("variable", "options"),
    [("nope=3", []), ("rate=fast", []), ("", ["--run-config", "nope=3"]), ("seed=3", [])],
)
def test_keys_that_are_wrong_end_with_the_exit_code_of_settings(folder, monkeypatch, variable, options):
    """N13: FL_APP_CONFIG was not read, and there was no --run-config."""
    monkeypatch.setenv("FL_APP_CONFIG", variable)
    result = CliRunner().invoke(command, ["app", "check", str(folder), *options])
    assert isinstance(result.exception, SettingsError)
    assert result.exception.exit_code == 2
    assert (variable or options[1]).partition("=")[0] in str(result.exception)


def test_the_app_gets_the_keys_of_its_own(folder, monkeypatch):
    change(folder, "client", "    # evaluated", "    metrics[f'rate-{context.run_config[\"rate\"]}'] = 1")
    monkeypatch.setenv("FL_APP_CONFIG", "rate=0.25")
    for options, rate in (([], 0.25), (["--run-config", "rate=0.5"], 0.5)):
        result = CliRunner().invoke(command, ["app", "check", str(folder), "--json", *options])
        assert result.exit_code == 0
        found = {each["check"]: each["found"] for each in json.loads(result.stdout)["checks"]}
        assert f"rate-{rate}" in found["evaluate-reply"]
