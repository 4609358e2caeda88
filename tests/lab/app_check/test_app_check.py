"""`oneflower app check` names what an app lacks: the starter app, whole, and broken in one place."""

import importlib.util
import json
import shutil
from itertools import count
from pathlib import Path

import pytest
from typer.testing import CliRunner

from oneflower.apps_catalogue import write_app
from oneflower.cli.main import app as command
from oneflower.lab.app_check import check_app
from oneflower.lab.app_check.packed import flower_version
from oneflower.settings import resolve, run_config

APPS = Path(__file__).parents[3] / "apps"
TINY_MODEL = APPS.parent / "tests" / "apps" / "tiny_model.py"
CHECKS = [
    "flower-app",
    "left-out",
    "flower-version",
    "run-config",
    "server",
    "initial-model",
    "train-reply",
    "determinism",
    "proximal-mu",
    "learning-rate",
    "evaluate-reply",
    "verdict",
]
SEEDED = "generator = set_determinism(info.seed, info.round, info.partition_id)"
# Draws from the global generator, which nobody seeds.
UNSEEDED = "generator = torch.Generator().manual_seed(int(torch.randint(0, 2**31, ())))"
# Draws from the machine's own entropy.
UNSEEDABLE = "generator = torch.Generator()\n    generator.seed()"
HOLDS_ON = "proximal_mu=info.proximal_mu,"
OWN_STRATEGY = """\
    from flwr.serverapp.strategy import FedAvg
    FedAvg().start(grid=grid, initial_arrays=model_arrays(model), num_rounds=1)
"""
OLDER_API = """\
import numpy as np
from flwr.common import ndarrays_to_parameters
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg


def server_fn(context):
    strategy = FedAvg(initial_parameters=ndarrays_to_parameters([np.zeros(3)]))
    return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=1))


app = ServerApp(server_fn=server_fn)
"""
NUMBERS = count()
IGNORES_MU = ("client", HOLDS_ON, "proximal_mu=0.0,")
STEPS = "lambda self: [each.data.sub_((info.lr or options.lr) * each.grad) for each in model.parameters()]"
BY_ITSELF = (
    "client",
    "torch.optim.SGD(model.parameters(), lr=info.lr or options.lr)",
    f'type("ByHand", (), {{"zero_grad": lambda self: model.zero_grad(), "step": {STEPS}}})()',
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("ONEFLOWER_DATA", raising=False)
    (tmp_path / "here" / "within").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "within")  # of which the check makes copies
    # A name of its own: Flower leaves the last app that it loaded on Python's path.
    return write_app(f"fish{next(NUMBERS)}", tmp_path)


def break_(folder, part, old, new):
    path = folder / folder.name / f"{part}.py" if part != "pyproject" else folder / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def findings(folder, tmp_path, *broken, clients=2, **variables):
    for each in broken:
        break_(folder, *each)
    found = check_app(
        folder, run_config=run_config(resolve(variables).settings), clients=clients, home=tmp_path / "home"
    )
    return {each.check: each for each in found}


def outcomes(found):
    return {
        name: each.outcome.value for name, each in found.items() if each.outcome != "ok" and name != "verdict"
    }


def test_the_starter_app_has_everything(folder, tmp_path):
    found = findings(folder, tmp_path)
    assert list(found) == CHECKS
    assert outcomes(found) == {}
    assert "with mu 0" in found["proximal-mu"].found


@pytest.mark.parametrize("name", ["image-classification", "anomaly-detection"])
def test_the_ready_made_apps_have_everything(name, tmp_path, monkeypatch):
    monkeypatch.delenv("ONEFLOWER_DATA", raising=False)
    assert outcomes(findings(APPS / name, tmp_path)) == {}


@pytest.mark.deployed  # `make newest` installs no transformers
def test_the_language_model_app_has_everything(tmp_path, monkeypatch):
    """Its base model comes by FL_BASE_MODEL, as under `oneflower up`."""
    # By its file: Flower keeps account of sys.path itself, and fails where a fixture puts an older one back.
    spec = importlib.util.spec_from_file_location("tiny_model", TINY_MODEL)
    tiny_model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny_model)
    (tmp_path / "data").mkdir()
    tiny_model.write_pairs(tmp_path / "data" / "pairs.jsonl")
    monkeypatch.setenv("ONEFLOWER_DATA", str(tmp_path / "data"))
    model = tiny_model.write_tiny_model(tmp_path / "tiny")
    given = {"FL_USE_CASE": "llm-fine-tuning", "FL_BASE_MODEL": str(model)}
    found = check_app(
        APPS / "llm-fine-tuning",
        run_config=run_config(resolve(given).settings),
        clients=2,
        home=tmp_path / "home",
    )
    assert [(each.check, each.found) for each in found if each.outcome != "ok"] == []


def test_a_client_that_ignores_mu_gets_the_term_from_oneflower(folder, tmp_path):
    found = findings(folder, tmp_path, IGNORES_MU)
    assert outcomes(found) == {}
    assert "oneflower adds the proximal term" in found["proximal-mu"].found


@pytest.mark.parametrize(("strategy", "outcome"), [("FedProx", "problem"), ("FedAvg", "warning")])
def test_a_client_that_steps_by_itself_and_ignores_mu_is_told_so(folder, tmp_path, strategy, outcome):
    found = findings(folder, tmp_path, IGNORES_MU, BY_ITSELF, FL_STRATEGY=strategy)
    assert outcomes(found) == {"proximal-mu": outcome}
    assert "the client ignores proximal-mu" in found["proximal-mu"].found
    assert "FL_STRATEGY=FedProx would train as FedAvg does" in found["proximal-mu"].found
    assert "proximal_term(model, global_arrays, info.proximal_mu)" in found["proximal-mu"].fix


def test_a_client_that_seeds_nothing_is_seeded(folder, tmp_path):
    assert outcomes(findings(folder, tmp_path, ("client", SEEDED, UNSEEDED))) == {}


def test_a_client_that_nothing_can_seed_is_not_judged_by_chance(folder, tmp_path):
    found = findings(folder, tmp_path, ("client", SEEDED, UNSEEDABLE))
    assert outcomes(found) == {
        "determinism": "problem",
        "proximal-mu": "skipped",
        "learning-rate": "skipped",
    }
    assert "does not end with the same bytes" in found["verdict"].found


def test_a_term_with_the_wrong_sign_does_not_keep_the_update_close(folder, tmp_path):
    found = findings(
        folder, tmp_path, ("client", HOLDS_ON, "proximal_mu=-info.proximal_mu,"), FL_STRATEGY="FedProx"
    )
    assert outcomes(found) == {"proximal-mu": "problem"}
    assert "does not keep it close" in found["proximal-mu"].found


def test_a_client_that_ignores_the_servers_lr_is_warned_of(folder, tmp_path):
    found = findings(folder, tmp_path, ("client", "info.lr or options.lr", "options.lr"))
    assert outcomes(found) == {"learning-rate": "warning"}
    assert "FL_CLIENT_LR" in found["learning-rate"].found


def test_a_reply_without_num_examples_is_a_problem(folder, tmp_path):
    found = findings(folder, tmp_path, ("client", '"num-examples": len(rows), ', ""))
    assert found["train-reply"].outcome == "problem"
    assert "num-examples" in found["train-reply"].found
    assert {found[name].outcome for name in ("determinism", "proximal-mu", "learning-rate")} == {"skipped"}


def test_a_client_that_fails_is_quoted(folder, tmp_path):
    found = findings(folder, tmp_path, ("client", SEEDED, "raise ValueError('no fish today')"))
    assert "no fish today" in found["train-reply"].found


def test_a_client_without_evaluation_is_warned_of(folder, tmp_path):
    found = findings(folder, tmp_path, ("client", "@app.evaluate()\n", ""))
    assert outcomes(found) == {"evaluate-reply": "warning"}


def test_an_evaluation_without_num_examples_is_a_problem(folder, tmp_path):
    broken = ("client", '"num-examples": len(validation[1]), ', "")
    assert outcomes(findings(folder, tmp_path, broken)) == {"evaluate-reply": "problem"}


@pytest.mark.parametrize(
    ("read", "outcome"),
    [("context.run_config['depth']", "problem"), ("context.run_config.get('depth', 3)", "warning")],
)
def test_keys_that_are_read_and_not_declared_are_named(folder, tmp_path, read, outcome):
    broken = ("client", "options = DEFAULTS", f"_depth = {read}\n    options = DEFAULTS")
    found = findings(folder, tmp_path, broken)
    assert found["run-config"].outcome == outcome
    assert "depth" in found["run-config"].found


def test_a_default_that_a_key_of_oneflowers_cannot_have_is_warned_of(folder, tmp_path):
    broken = ("pyproject", "local-epochs = 2", "local-epochs = 2\ntrim-beta = 0.9")
    found = findings(folder, tmp_path, broken)
    assert outcomes(found)["run-config"] == "warning"
    assert "trim-beta" in found["run-config"].found


def test_a_server_with_a_strategy_of_its_own_runs_unchanged(folder, tmp_path):
    broken = (
        "server",
        "    train(grid, context, model_arrays(model), evaluate=evaluate)",
        OWN_STRATEGY,
    )
    found = findings(folder, tmp_path, broken)
    assert outcomes(found) == {}
    assert "it starts FedAvg" in found["server"].found
    assert found["verdict"].found == "it runs unchanged with checkpoints and resume"


def test_an_array_that_the_server_refuses_is_named(folder, tmp_path):
    own = ("server", "    train(grid, context, model_arrays(model), evaluate=evaluate)", OWN_STRATEGY)
    complex_ = ("client", "loss}, model_arrays(model))", "loss}, ArrayRecord([np.array([1 + 2j])]))")
    imported = (
        "client",
        "import torch\n",
        "import numpy as np\nimport torch\nfrom flwr.app import ArrayRecord\n",
    )
    found = findings(folder, tmp_path, own, complex_, imported)
    assert outcomes(found)["train-reply"] == "problem"
    assert "array '0'" in found["train-reply"].found
    assert "complex numbers" in found["train-reply"].found
    assert found["verdict"].outcome == "problem"


def test_the_noise_of_a_wrapped_strategy_is_said(folder, tmp_path):
    wrapped = OWN_STRATEGY.replace(
        "import FedAvg", "import DifferentialPrivacyServerSideFixedClipping, FedAvg"
    )
    wrapper = "DifferentialPrivacyServerSideFixedClipping(FedAvg(), 0.1, 1.0, 2)"
    wrapped = wrapped.replace("FedAvg().start", f"{wrapper}.start")
    broken = ("server", "    train(grid, context, model_arrays(model), evaluate=evaluate)", wrapped)
    found = findings(folder, tmp_path, broken)
    assert outcomes(found) == {}
    assert "DifferentialPrivacyServerSideFixedClipping" in found["privacy-noise"].found
    assert "random key" in found["privacy-noise"].found


def test_an_unseeded_first_model_is_seeded(folder, tmp_path):
    found = findings(folder, tmp_path, ("server", "    set_determinism(seed, 0, 0)\n", ""))
    assert outcomes(found) == {}


@pytest.mark.parametrize(
    ("part", "check"), [("server", "server"), ("client", "client")], ids=["server", "client"]
)
def test_a_part_that_cannot_be_imported_is_named(folder, tmp_path, part, check):
    found = findings(folder, tmp_path, (part, "app = ", "import no_such_package\napp = "))
    assert found[check].outcome == "problem"
    assert "no_such_package" in found[check].found


def test_a_server_that_sends_nothing_is_a_problem(folder, tmp_path):
    broken = ("server", "    train(grid, context, model_arrays(model), evaluate=evaluate)", "    return")
    assert "without a training message" in findings(folder, tmp_path, broken)["server"].found


def test_what_is_no_flower_app_is_said_at_once(tmp_path):
    found = findings(tmp_path, tmp_path)
    assert list(found) == ["flower-app"]
    assert "no pyproject.toml" in found["flower-app"].found


def test_the_command_has_exit_codes_and_json(folder):
    result = CliRunner().invoke(command, ["app", "check", str(folder), "--json"])
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["ok"] is True
    assert [each["check"] for each in document["checks"]] == CHECKS
    break_(folder, "client", SEEDED, UNSEEDABLE)
    result = CliRunner().invoke(command, ["app", "check", str(folder)])
    assert result.exit_code == 5
    assert "problem  determinism" in result.stdout
    assert "1 problem" in result.stdout.splitlines()[-1]
    shutil.rmtree(folder)
    result = CliRunner().invoke(command, ["app", "check", str(folder), "--json"])
    assert result.exit_code == 5
    assert json.loads(result.stdout)["ok"] is False


def test_a_client_that_does_not_fit_a_server_of_flowers_older_api_is_named(folder, tmp_path):
    path = folder / folder.name / "server.py"
    path.write_text(OLDER_API, encoding="utf-8")
    found = findings(folder, tmp_path)
    assert "a loop of its own" in found["server"].found
    assert found["train-reply"].outcome == "problem"


OWN_LOOP = """\
    from flwr.app import Message, RecordDict
    content = RecordDict({"arrays": model_arrays(model)})
    grid.send_and_receive([Message(content, node, "train") for node in grid.get_node_ids()])
"""
OWN_RULE = """\
    from flwr.serverapp.strategy import FedAvg

    class Own(FedAvg):
        def aggregate_train(self, server_round, replies):
            return super().aggregate_train(server_round, replies)

    Own().start(grid=grid, initial_arrays=model_arrays(model), num_rounds=1)
"""


@pytest.mark.parametrize(
    ("server", "variables"),
    [
        ("legacy", {"FL_STRATEGY": "Krum"}),
        ("legacy", {"FL_UPDATE_NORM_BOUND": "3"}),
        ("legacy", {"FL_MAX_CLIENT_WEIGHT": "5"}),
        (OWN_LOOP, {"FL_STRATEGY": "Krum"}),
        (OWN_RULE, {"FL_UPDATE_NORM_BOUND": "3"}),
    ],
)
def test_a_setting_that_the_app_cannot_have_is_a_finding_of_the_settings(folder, tmp_path, server, variables):
    """Cases N1 and N29: no finding at all, and advice to fix the server."""
    if server == "legacy":
        (folder / folder.name / "server.py").write_text(OLDER_API, encoding="utf-8")
    else:
        break_(folder, "server", "    train(grid, context, model_arrays(model), evaluate=evaluate)", server)
    found = findings(folder, tmp_path, clients=3, **variables)
    ((name, value),) = variables.items()
    assert found["settings"].outcome == "problem"
    assert f"{name}={value} would have no effect" in found["settings"].found
    assert "server" not in found
    assert found["verdict"].found == "it is refused with these settings: see settings"


def test_a_server_that_waits_for_more_clients_is_not_waited_for(folder, tmp_path):
    found = findings(folder, tmp_path, clients=1)
    assert "waits for more than 1 client;" in found["server"].found
    assert "--clients" in found["server"].found


def test_what_is_left_out_of_the_bundle_is_named_with_the_rule(folder, tmp_path):
    package = folder / folder.name
    (package / "vocab.json").write_text("{}")
    found = findings(folder, tmp_path)
    assert found["left-out"].outcome == "warning"
    assert f"by their extension: {folder.name}/vocab.json" in found["left-out"].found
    (package / "plain").mkdir()
    (package / "plain" / "__init__.py").write_text("")
    (folder / ".gitignore").write_text("plain/\n")
    found = findings(folder, tmp_path)
    assert f"by line 1 of .gitignore (plain/): {folder.name}/plain/__init__.py" in found["left-out"].found
    assert f"by their extension: {folder.name}/vocab.json" in found["left-out"].found
    assert f'"!/{folder.name}/plain/"' in found["left-out"].fix


def test_a_file_that_the_app_asks_for_and_the_bundle_lacks_is_named_with_its_rule(folder, tmp_path):
    """Flower says "No module named" or FileNotFoundError, and the file is there."""
    package = folder / folder.name
    (package / "plain").mkdir()
    (package / "plain" / "__init__.py").write_text("")
    (folder / ".gitignore").write_text("# data\nplain/\n")
    broken = ("server", "app = ", f"import {folder.name}.plain\napp = ")
    found = findings(folder, tmp_path, broken)
    assert f"{folder.name}/plain/__init__.py is left out of the bundle by line 2" in found["server"].found
    assert f'"!/{folder.name}/plain/"' in found["server"].fix


def test_data_beside_the_code_that_a_client_opens_are_named_with_their_rule(folder, tmp_path):
    (folder / folder.name / "vocab.json").write_text("{}")
    reads = f"open(__file__.replace('client.py', 'vocab.json'))\n    {SEEDED}"
    found = findings(folder, tmp_path, ("client", SEEDED, reads))
    left_out = f"{folder.name}/vocab.json is left out of the bundle by its extension"
    assert left_out in found["train-reply"].found
    assert "mounted folder" in found["train-reply"].fix


def test_a_gitignore_that_names_the_apps_package_is_a_finding(folder, tmp_path):
    (folder / ".gitignore").write_text(f"{folder.name}\n")
    found = findings(folder, tmp_path)
    assert list(found) == ["flower-app"]
    left_out = f"{folder.name}/server.py is left out of the bundle by line 1 of .gitignore"
    assert left_out in found["flower-app"].found


def test_the_proximal_term_is_the_apps_where_the_settings_say_so(folder, tmp_path):
    found = findings(folder, tmp_path, IGNORES_MU, FL_STRATEGY="FedProx", FL_PROXIMAL_TERM="app")
    assert outcomes(found) == {"proximal-mu": "problem"}
    assert "FL_PROXIMAL_TERM=app leaves the term to the app" in found["proximal-mu"].found
    assert "FL_PROXIMAL_TERM=auto" in found["proximal-mu"].fix


@pytest.mark.parametrize(
    ("asked", "outcome"),
    [("flwr>=1.20", "ok"), ("flwr[simulation]>=1.99.0", "warning"), ("flwr!=9.9", "ok")],
)
def test_the_flower_that_the_app_asks_for_is_compared(folder, asked, outcome):
    break_(folder, "pyproject", 'dependencies = ["oneflower[apps]"]', f'dependencies = ["{asked}"]')
    found = flower_version(folder)
    assert found.outcome == outcome
    assert asked in found.found


def test_an_app_that_hangs_is_ended_at_the_deadline(folder):
    break_(folder, "server", "app = ", "import time\ntime.sleep(1e6)\napp = ")
    result = CliRunner().invoke(command, ["app", "check", str(folder), "--deadline", "15", "--json"])
    assert result.exit_code == 5
    *before, found, verdict = json.loads(result.stdout)["checks"]
    assert [each["check"] for each in before] == ["flower-app", "left-out", "flower-version"]
    assert found["check"] == "deadline"
    assert "within 15 s" in found["found"]
    lines = (folder / folder.name / "server.py").read_text().splitlines()
    place = f"{folder.name}/server.py, line {lines.index('time.sleep(1e6)') + 1}"
    assert f"at {place}, while loading the server ({folder.name}.server:app)" in found["found"]
    assert "see deadline" in verdict["found"]


def test_an_app_that_ends_the_process_is_said_so(folder):
    break_(folder, "server", "app = ", "import os\nos._exit(0)\napp = ")
    result = CliRunner().invoke(command, ["app", "check", str(folder), "--json"])
    assert result.exit_code == 5
    *before, found, _ = json.loads(result.stdout)["checks"]
    assert [each["check"] for each in before] == ["flower-app", "left-out", "flower-version"]
    assert "ended the process" in found["found"]
    assert f"while loading the server ({folder.name}.server:app)" in found["found"]
