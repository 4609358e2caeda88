"""`oneflower simulate`: a training without a cluster."""

import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from oneflower.checkpoints import CheckpointReader
from oneflower.cli import simulate as module
from oneflower.local_cluster.ports import free_ports
from oneflower.settings import Settings, render_context

from ..making import events_in

WAIT_S = 240
STOCK_APPS = Path(__file__).parents[1] / "data" / "stock_apps"
LIGHT = str(STOCK_APPS / "numpy")
IMAGES = {"FL_USE_CASE": "image-classification"}
CONTEXT = {
    "FL_NUM_ROUNDS": "2",
    "FL_CHECKPOINT_ENABLED": "YES",
    "FL_CHECKPOINT_INTERVAL": "1",
}


@pytest.fixture
def simulate(tmp_path, monkeypatch):
    """Return a function that runs the command; FL_USE_CASE finds ten times ten small images."""
    images = np.random.default_rng(0).random((200, 28, 28), dtype=np.float32)
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "images.npz", x=images, y=np.arange(200) % 10)
    monkeypatch.setenv("ONEFLOWER_DATA", str(tmp_path / "data"))

    def run(*options, state="state", **variables):
        context = tmp_path / "context.sh"
        context.write_text(render_context({**CONTEXT, **variables}))
        command = [sys.executable, "-m", "oneflower.cli.main", "simulate", "--context", str(context)]
        if "FL_USE_CASE" not in variables and "--app" not in options:
            command += ["--app", LIGHT]
        return subprocess.run(
            [*command, "--state", str(tmp_path / state), *options],
            cwd=tmp_path,  # stock apps write their results there
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )

    return run


def digest(folder):
    (finish,) = [event for event in events_in(folder / "journal.jsonl") if event.tag == "training_finished"]
    return finish.sha256


def test_simulate_trains_and_saves_checkpoints(simulate, tmp_path):
    done = simulate("--clients", "4", **IMAGES)
    assert done.returncode == 0, done.stderr
    assert re.search(r"round 2 of 2 done in .*, 4 updates", done.stdout)
    assert CheckpointReader(tmp_path / "state" / "checkpoints").rounds() == (1, 2)


def test_an_interrupted_simulation_resumes_to_the_same_result(simulate, tmp_path):
    simulate("--clients", "3", state="whole")
    simulate("--clients", "3", state="parts", FL_NUM_ROUNDS="1")
    simulate("--clients", "3", state="parts")
    events = events_in(tmp_path / "parts" / "journal.jsonl")
    finishes = [event.sha256 for event in events if event.tag == "training_finished"]
    assert finishes[-1] == digest(tmp_path / "whole")


def test_a_finished_simulation_is_reported_from_its_checkpoint_and_not_run_again(simulate, tmp_path):
    first = simulate("--clients", "2")
    again = simulate("--clients", "2")
    assert again.returncode == 0, again.stderr
    assert "this training has finished already: round 2 of 2; nothing was run" in again.stdout
    assert first.stdout.splitlines()[-2:] == again.stdout.splitlines()[-2:]
    assert digest(tmp_path / "state") in again.stdout


def test_a_flipped_bit_in_the_final_model_is_reported_and_the_training_resumes(simulate, tmp_path):
    simulate("--clients", "2")
    expected = digest(tmp_path / "state")
    final = tmp_path / "state" / "checkpoints" / "checkpoint_round_2.npz"
    data = bytearray(final.read_bytes())
    data[len(data) // 2] ^= 1
    final.write_bytes(bytes(data))
    again = simulate("--clients", "2")
    assert again.returncode == 0, again.stderr
    assert "its model is not as it was saved" in again.stdout
    assert "is damaged" in again.stdout
    events = events_in(tmp_path / "state" / "journal.jsonl")
    assert [event.round for event in events if event.tag == "training_resumed"] == [1]
    assert events[-1].sha256 == expected
    assert hashlib.sha256(final.read_bytes()).hexdigest() == expected


def test_a_finished_training_with_other_settings_or_fewer_rounds_is_refused(simulate):
    simulate("--clients", "2")
    other = simulate("--clients", "3")
    assert (other.returncode, "nodes was 2, is 3" in other.stderr) == (2, True)
    fewer = simulate("--clients", "2", FL_NUM_ROUNDS="1")
    assert (fewer.returncode, "FL_NUM_ROUNDS is 1" in fewer.stderr) == (2, True)


def test_a_finished_own_loop_is_not_run_again_and_refused_with_other_settings(simulate, tmp_path):
    """Cases N9 and N26: it was run from its first line, and trained once more where a setting had changed."""
    app = ("--clients", "3", "--app", str(STOCK_APPS / "own-loop"))
    more = ("--run-config", "fraction-sample=1.0")
    assert simulate(*app).returncode == 0
    events = len(events_in(tmp_path / "state" / "journal.jsonl"))
    again = simulate(*app)
    assert (again.returncode, "has finished already; nothing was run" in again.stdout) == (0, True)
    other = simulate(*app, *more)
    assert other.returncode == 2
    assert (
        "the app here has finished, with other settings: fraction-sample was not set, is 1.0" in other.stderr
    )
    robust = simulate(*app, FL_STRATEGY="Krum")
    assert (robust.returncode, "strategy was app, is Krum" in robust.stderr) == (2, True)
    assert len(events_in(tmp_path / "state" / "journal.jsonl")) == events
    further = simulate(*app, FL_NUM_ROUNDS="4")
    assert (further.returncode, "exchange 5: " in further.stdout) == (0, True)
    assert not list((tmp_path / "state" / "checkpoints" / "exchanges").glob("set-aside-*"))


def test_a_legacy_app_is_refused_where_a_setting_of_safety_has_no_effect(simulate):
    app = ("--clients", "3", "--app", str(STOCK_APPS / "legacy"))
    for name, value in [
        ("FL_STRATEGY", "Krum"),
        ("FL_UPDATE_NORM_BOUND", "3"),
        ("FL_MAX_CLIENT_WEIGHT", "5"),
    ]:
        refused = simulate(*app, state="refused", **{name: value})
        assert (refused.returncode, f"{name}={value} would have no effect" in refused.stderr) == (2, True)


def test_a_finished_or_stopped_training_with_a_key_that_did_not_sign_it_is_refused(simulate, tmp_path):
    assert simulate("--clients", "4").returncode == 0
    key = "a3f1c9d27b604e85f1d2c3b4a5968778"
    for rounds in ("2", "3"):
        done = simulate("--clients", "4", FL_CHECKPOINT_KEY=key, FL_NUM_ROUNDS=rounds)
        assert done.returncode == 3, done.stderr
        assert (done.stdout + done.stderr).count("is not signed") == 1
        assert f"checkpoints sign {tmp_path / 'state' / 'checkpoints'}`" in done.stderr
    assert simulate("--clients", "4", state="signed", FL_CHECKPOINT_KEY=key).returncode == 0
    done = simulate("--clients", "4", state="signed")
    assert done.returncode == 0
    assert "only FL_CHECKPOINT_KEY can check" in done.stdout
    done = simulate("--clients", "4", state="signed", FL_CHECKPOINT_KEY=key[::-1])
    assert done.returncode == 3
    assert "Set the key that it was signed with" in done.stderr


def test_without_a_usable_gpu_processors_train_the_same_bytes_with_one_warning(simulate, tmp_path):
    hidden = {"FL_GPU_ENABLED": "YES", "FL_CUDA_VISIBLE_DEVICES": "63"}
    given = simulate("--clients", "2", "--quiet", state="asked", **IMAGES, **hidden)
    assert given.returncode == 0, given.stderr
    (said,) = [line for line in given.stdout.splitlines() if "FL_GPU_ENABLED" in line]
    assert said.startswith("warning: FL_GPU_ENABLED=YES, and processors train: ")
    assert "To mend it: " in said
    simulate("--clients", "2", state="plain", **IMAGES)
    assert digest(tmp_path / "asked") == digest(tmp_path / "plain")


def test_the_callers_environment_does_not_cancel_the_choice_of_gpus(monkeypatch):
    """ONEFLOWER_GPUS_CHOSEN is for the container of an appliance."""
    environ = {"ONEFLOWER_GPUS_CHOSEN": "YES"}
    monkeypatch.setattr(module, "os", SimpleNamespace(environ=environ))
    monkeypatch.setattr(module, "check_gpus", lambda settings, environ: "")
    plan = SimpleNamespace(settings=Settings(gpu_enabled=True, cuda_visible_devices="3"))
    module._look_for_gpus(plan, "local", progress=None)
    assert environ["CUDA_VISIBLE_DEVICES"] == "3"


def test_a_gpu_that_is_required_and_not_there_ends_it_before_round_1_in_one_line(simulate, tmp_path):
    given = {"FL_GPU_ENABLED": "YES", "FL_GPU_REQUIRED": "YES", "FL_CUDA_VISIBLE_DEVICES": "63"}
    failed = simulate("--clients", "2", **given)
    assert failed.returncode == 8
    (said,) = failed.stderr.splitlines()
    assert "FL_GPU_REQUIRED=YES, and no GPU can be used: " in said
    assert not (tmp_path / "state" / "journal.jsonl").exists()


@pytest.mark.e2e
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra `simulation` is not installed")
@pytest.mark.parametrize("app", [{}, IMAGES], ids=["stock app", "images"])
def test_flowers_ray_engine_gives_the_same_bytes(simulate, tmp_path, app):
    """A stock app draws from the global generators, which are seeded in Ray's processes, too."""
    assert simulate("--clients", "2", state="here", **app).returncode == 0
    done = simulate("--clients", "2", "--engine", "ray", state="ray", **app)
    assert done.returncode == 0, done.stderr
    assert "client-0, partition 0" in done.stdout
    assert digest(tmp_path / "ray") == digest(tmp_path / "here")


@pytest.fixture
def ray_cluster(tmp_path):
    """Start a Ray cluster of one machine, and return its address."""
    (port,) = free_ports(1)
    sessions = tempfile.mkdtemp(prefix="oneflower-ray-")  # a path of sockets must be short
    ray = Path(sys.executable).with_name("ray")
    command = [str(ray), "start", "--head", "--block", "--port", str(port), "--num-cpus", "2"]
    command += ["--node-ip-address", "127.0.0.1", "--include-dashboard", "false", "--temp-dir", sessions]
    log = (tmp_path / "ray.log").open("w")
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + WAIT_S
        while "Ray runtime started" not in (tmp_path / "ray.log").read_text():
            assert process.poll() is None, (tmp_path / "ray.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(WAIT_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(sessions, ignore_errors=True)


@pytest.mark.e2e
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra `simulation` is not installed")
def test_a_ray_cluster_that_runs_already_gives_the_same_bytes(simulate, tmp_path, ray_cluster):
    assert simulate("--clients", "2", state="here").returncode == 0
    done = simulate("--clients", "2", "--engine", "ray", "--ray-address", ray_cluster, state="ray")
    assert done.returncode == 0, done.stderr
    assert digest(tmp_path / "ray") == digest(tmp_path / "here")


def test_the_address_of_a_cluster_needs_its_engine(simulate, tmp_path):
    done = simulate("--clients", "2", "--ray-address", "127.0.0.1:6379")
    assert done.returncode == 2
    assert "--ray-address 127.0.0.1:6379: it is for --engine ray; given: local" in done.stderr
    assert not (tmp_path / "state").exists()


def test_an_unknown_engine_is_refused_before_anything_is_written(simulate, tmp_path):
    done = simulate("--clients", "2", "--engine", "spark")
    assert done.returncode == 2
    assert "--engine spark: expected one of local, ray" in done.stderr
    assert not (tmp_path / "state").exists()


def test_fewer_clients_than_a_round_needs_are_refused(simulate):
    done = simulate("--clients", "2", FL_MIN_FIT_CLIENTS="5", FL_MIN_AVAILABLE_CLIENTS="5")
    assert done.returncode == 2
    assert "5" in done.stderr


SERVER = """
import sys
from flwr.app import ArrayRecord
from flwr.serverapp import ServerApp
import numpy as np
from oneflower.sdk import train
{top}
app = ServerApp()

@app.main()
def main(grid, context):
    def evaluate(server_round, arrays):
        if server_round == 1:
            {evaluate}
        return {{"loss": 1.0}}

    train(grid, context, ArrayRecord([np.zeros(2)]), evaluate=evaluate)
    {end}
"""
CLIENT = """
from flwr.app import Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
{top}
app = ClientApp()

@app.train()
def _(message, context):
    content = RecordDict({{"arrays": message.content["arrays"], "m": MetricRecord({{"num-examples": 1}})}})
    return Message(content, reply_to=message)
"""
PROJECT = """
[project]
name = "exits"
version = "1.0.0"
[tool.flwr.app]
publisher = "tests"
[tool.flwr.app.components]
serverapp = "exits.server:app"
clientapp = "exits.client:app"
"""


@pytest.fixture
def own_app(simulate, tmp_path):
    """Return a function that simulates an app with these statements in its server and client."""

    def run(*, top="", evaluate="pass", end="", client=""):
        package = tmp_path / "app" / "exits"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package.parent / "pyproject.toml").write_text(PROJECT)
        (package / "server.py").write_text(SERVER.format(top=top, evaluate=evaluate, end=end))
        (package / "client.py").write_text(CLIENT.format(top=client))
        done = simulate("--clients", "2", "--app", str(package.parent), FL_MIN_EVALUATE_CLIENTS="0")
        return done, events_in(tmp_path / "state" / "journal.jsonl")

    return run


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        ({"top": "sys.exit('no data')"}, "the app raised SystemExit: no data (exits/server.py:7)"),
        ({"evaluate": "sys.exit(0)"}, "the app raised SystemExit: 0"),
        ({"evaluate": "raise TypeError('a defect')"}, "the app raised TypeError: a defect"),
        ({"client": "raise SystemExit"}, "the app raised SystemExit"),
        (
            {"end": "raise RuntimeError('by hand')"},
            "the app raised RuntimeError: by hand (exits/server.py:18)",
        ),
        (
            {"client": "import nowhere_at_all"},
            "the app raised ModuleNotFoundError: No module named 'nowhere_at_all' (exits/client.py:",
        ),
        ({"client": "1 / 0"}, "the app raised ZeroDivisionError: division by zero (exits/client.py:4)"),
    ],
)
def test_an_app_that_raises_or_exits_fails_with_the_reason(own_app, statements, said):
    """The app's own exit code, including 0, never becomes that of the simulation."""
    done, events = own_app(**statements)
    assert done.returncode == 5, done.stderr
    assert f"error: {said}" in done.stderr
    (told,) = [event for event in events if event.tag == "app_failed"]
    assert told.kind == "app"
    assert "final model" not in done.stdout


def test_an_app_that_exits_with_0_after_its_training_succeeds(own_app):
    done, events = own_app(end="sys.exit(0)")
    assert done.returncode == 0, done.stderr
    assert "final model" in done.stdout
    assert "app_failed" not in [event.tag for event in events]


def test_data_that_does_not_fit_ends_with_the_error_of_the_app(simulate, tmp_path):
    np.savez(tmp_path / "data" / "images.npz", x=np.zeros((50, 9, 9), np.float32), y=np.arange(50) % 10)
    done = simulate("--clients", "2", **IMAGES)
    assert done.returncode == 5
    assert "expected at least one image of (channels, height, width) = (1, 28, 28)" in done.stderr


def test_an_interruption_is_written_down(simulate, tmp_path):
    """`status` otherwise says for ever what it did last."""
    context = tmp_path / "context.sh"
    simulate("--clients", "2", FL_NUM_ROUNDS="1")
    context.write_text(render_context({**CONTEXT, "FL_NUM_ROUNDS": "100000"}))
    command = [sys.executable, "-m", "oneflower.cli.main", "simulate", "--context", str(context)]
    process = subprocess.Popen(
        [*command, "--state", str(tmp_path / "state"), "--clients", "2", "--app", LIGHT],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert any("round 3 of" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(WAIT_S) == 130
    last = events_in(tmp_path / "state" / "journal.jsonl")[-1]
    assert last.tag == "training_interrupted"
