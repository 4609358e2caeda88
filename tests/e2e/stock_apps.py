"""Stock Flower apps under `oneflower simulate` and `oneflower up`: trained, killed in the middle, resumed.

The apps of `tests/data/stock_apps` are public shapes in own words. Each saves its model and `results.json` in
the working directory, as an author would, and works WORK_S seconds for each message, so that a kill hits.
"""

import hashlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oneflower.flower.programs import program_of
from oneflower.journal import Event, read_journal
from oneflower.local_cluster.processes import MARKER
from oneflower.procfs import Identity, command_line, send, with_environment

APPS = Path(__file__).parents[1] / "data" / "stock_apps"
CLIENTS = 3
ROUNDS = 3
"""What every app sets in its own pyproject.toml; the settings do not say it."""
SIMULATE, UP = "simulate", "up"
WAIT_S = 400.0
WORK_S = {SIMULATE: "0.4", UP: "1.5"}
COMMANDS = {
    SIMULATE: ["simulate", "--clients", str(CLIENTS), "--quiet"],
    UP: ["up", "--nodes", str(CLIENTS), "--plain", "--no-dashboard"],
}
_DONE = re.compile(r"round (\d+) done")
"""What an own loop prints after each round."""


class StockAppError(Exception):
    """A stock app did not do what its author expects; the text has the end of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One stock app: what it shows, what it needs, what its author saves."""

    name: str
    shows: str
    framework: str = "NumPy"
    needs: tuple[str, ...] = ("numpy",)
    files: tuple[str, ...] = ("final_model.npz",)
    """What its author saves of the final result, with the same bytes each time."""
    measure: str = "loss"
    """A list in results.json, one number a round: a loss falls, any other measure rises."""
    remark: str = ""
    """What a kill changes besides, in words."""

    @property
    def folder(self) -> Path:
        """Where the app is."""
        return APPS / self.name

    @property
    def lacks(self) -> list[str]:
        """The packages that it needs and that are not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]

    def digest(self) -> str:
        """Return a digest of the app's files; Python's caches are no part of it."""
        found = hashlib.sha256()
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                found.update(str(path.relative_to(self.folder)).encode() + b"\0" + path.read_bytes())
        return found.hexdigest()

    def imports_oneflower(self) -> bool:
        """Whether a line of the app names oneflower."""
        return any("oneflower" in path.read_text() for path in self.folder.rglob("*.py"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a training ended with."""

    model: str
    """SHA-256 of the final model in the journal; empty where no event gives one."""
    files: dict[str, str]
    """SHA-256 of each file that the author saves of the final result."""
    results: dict[str, Any]
    """The app's results.json."""
    resumed: int
    """How often it went on where it was."""

    @property
    def kept(self) -> tuple[str, dict[str, str]]:
        """What must not depend on a kill."""
        return self.model, self.files


class Training:
    """One training of a stock app in a folder of its own."""

    def __init__(self, shape: Shape, engine: str, folder: Path) -> None:
        self.shape, self.engine = shape, engine
        self.work, self.state, self.log = folder / "work", folder / "state", folder / "output.log"
        self.work.mkdir(parents=True)
        self.saved = self.work if engine == SIMULATE else self.state
        """Where the app's own files are: `up` runs the ServerApp in the state folder."""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again."""
        command = [sys.executable, "-m", "oneflower.cli.main", *COMMANDS[self.engine]]
        command += ["--app", str(self.shape.folder), "--state", str(self.state)]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FL_")}
        settings = {"FL_CHECKPOINT_ENABLED": "YES", "FL_CHECKPOINT_INTERVAL": "1", "FL_LOG_LEVEL": "INFO"}
        settings["ONEFLOWER_NOISE_KEY"] = "of a comparison"  # else each training has a key of its own
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.work,
                env={**kept, **settings, "WORK_S": WORK_S[self.engine], "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def finish(self) -> Result:
        """Wait for its end; return what it ended with."""
        process = self._running
        try:
            code = process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            raise self._error(f"it has not ended after {WAIT_S:.0f} s") from None
        if code != 0:
            raise self._error(f"exit code {code}")
        missing = [name for name in ("results.json", *self.shape.files) if not (self.saved / name).exists()]
        if missing:
            raise self._error(f"exit code 0, but the app did not save {', '.join(missing)}")
        finished = [each for each in self._events() if each.tag == "training_finished"]
        return Result(
            model=getattr(finished[-1], "sha256", "") if finished else "",
            files={
                name: hashlib.sha256((self.saved / name).read_bytes()).hexdigest()
                for name in self.shape.files
            },
            results=json.loads((self.saved / "results.json").read_text()),
            resumed=sum(map(_resumed, self._events())),
        )

    def wait_for_round(self, number: int) -> None:
        """Wait until a round is over and a while of the next has passed."""
        self._wait_until(lambda: self._rounds() >= number, f"round {number} was not completed")
        time.sleep(float(WORK_S[self.engine]) / 2)

    def kill(self) -> None:
        """Kill it with all that it has started: nobody can tidy up."""
        started = self._started()
        self._running.kill()
        for identity in started:
            send(identity, signal.SIGKILL)
        self._running.wait()

    def kill_serverapp(self) -> None:
        """Kill the process of the ServerApp alone."""
        found = [each for each in self._started() if program_of(command_line(each.pid)) == "serverapp"]
        if not found:
            raise self._error("no process of a ServerApp was found")
        for each in found:
            send(each, signal.SIGKILL)

    def close(self) -> None:
        """End whatever still runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
            self.kill()

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise StockAppError("it was not started")
        return self._process

    def _events(self) -> list[Event]:
        with suppress(OSError):
            return [entry.event for entry in read_journal(self.state / "journal.jsonl")]
        return []

    def _rounds(self) -> int:
        """Return the newest round that is over: by the journal, or by what an own loop prints."""
        told = [int(found) for log in self._logs() for found in _DONE.findall(log)]
        completed = [getattr(each, "round", 0) for each in self._events() if each.tag == "round_completed"]
        return max([0, *told, *completed])

    def _logs(self) -> list[str]:
        paths = [self.log, *self.state.glob("logs/superlink*.log")]
        return [path.read_text(errors="replace") for path in paths if path.exists()]

    def _wait_until(self, holds: Callable[[], bool], problem: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not holds():
            if self._running.poll() is not None:
                raise self._error(f"{problem}: it has ended with exit code {self._running.returncode}")
            if time.monotonic() > deadline:
                raise self._error(f"{problem} in {WAIT_S:.0f} s")
            time.sleep(0.05)

    def _started(self) -> list[Identity]:
        path = self.state / "processes.json"
        if not path.exists():
            return []
        token = json.loads(path.read_text())["token"]
        return [each for each in with_environment(MARKER, token) if each.pid != self._running.pid]

    def _error(self, problem: str) -> StockAppError:
        return StockAppError(f"{self.shape.name} ({self.engine}): {problem}\n{self.log.read_text()[-3000:]}")


def _resumed(event: Event) -> bool:
    """Whether a training continued from a checkpoint, or an own loop from its recording."""
    return event.tag == "training_resumed" or (
        event.tag == "loop_started" and getattr(event, "recorded", 0) > 0
    )


def uninterrupted(shape: Shape, engine: str, folder: Path) -> Result:
    """Train without any fault."""
    training = Training(shape, engine, folder)
    try:
        training.start()
        return training.finish()
    finally:
        training.close()


def interrupted(shape: Shape, engine: str, folder: Path) -> Result:
    """Train, and kill everything in round 2; on a cluster the ServerApp's process in round 3 as well."""
    training = Training(shape, engine, folder)
    try:
        training.start()
        training.wait_for_round(1)
        training.kill()
        training.start()
        if engine == UP:
            training.wait_for_round(2)
            training.kill_serverapp()
        return training.finish()
    finally:
        training.close()


def learns(shape: Shape, result: Result) -> bool:
    """Whether the measure of the app's own results improves, over as many rounds as its author set."""
    values = result.results.get(shape.measure, [])
    if len(values) < ROUNDS:
        return False
    return bool(values[-1] < values[0] if shape.measure == "loss" else values[-1] > values[0])


_TORCH, _TORCH_FILES = ("torch",), ("final_model.pt",)
SHAPES = (
    Shape(name="numpy", shows="FedAvg over a list of arrays"),
    Shape(
        name="sklearn",
        shows="logistic regression, warm start",
        framework="scikit-learn",
        needs=("sklearn",),
        files=("logreg_model.npz",),
    ),
    Shape(
        name="torch",
        shows="`evaluate_fn`, `lr` in `train_config`, sampled clients, dropout, a shuffled `DataLoader`",
        framework="PyTorch",
        needs=_TORCH,
        files=_TORCH_FILES,
    ),
    Shape(
        name="batchnorm",
        shows="BatchNorm, whose counters are integers without a dimension",
        framework="PyTorch",
        needs=_TORCH,
        files=_TORCH_FILES,
    ),
    Shape(
        name="keras",
        shows="`fit` with dropout; `get_weights` and `set_weights`",
        framework="Keras",
        needs=("keras", "torch", "sklearn"),
        remark="`final_model.keras` holds the time of its making",
    ),
    Shape(name="jax", shows="keys drawn from NumPy's generator", framework="JAX", needs=("jax",)),
    Shape(
        name="xgboost-bagging",
        shows="`FedXgbBagging`: a model that grows, as bytes",
        framework="XGBoost",
        needs=("xgboost", "sklearn"),
        files=("final_model.json",),
        measure="auc",
    ),
    Shape(
        name="xgboost-cyclic",
        shows="`FedXgbCyclic`: one client a round",
        framework="XGBoost",
        needs=("xgboost", "sklearn"),
        files=("final_model.json",),
        measure="auc",
    ),
    Shape(
        name="lightning",
        shows="a `LightningModule` and its `Trainer`",
        framework="Lightning",
        needs=("pytorch_lightning",),
        files=_TORCH_FILES,
    ),
    Shape(
        name="huggingface",
        shows="a small BERT and its `Trainer`",
        framework="transformers",
        needs=("transformers", "accelerate"),
        files=_TORCH_FILES,
    ),
    Shape(name="custom-strategy", shows="an overridden `aggregate_train`: momentum, counters, a history"),
    Shape(
        name="custom-start",
        shows="an overridden `start` that saves each round and the best model",
        files=("final_model.npz", "best_model.npz", "rounds.json"),
    ),
    Shape(name="own-loop", shows="no strategy: a query, then `send_and_receive` in `main`"),
    Shape(name="push-pull", shows="no strategy: `push_messages` and `pull_messages`"),
    Shape(name="legacy", shows="`server_fn`, `client_fn` and a `NumPyClient`"),
    Shape(
        name="mods",
        shows="client mods: own ones, `arrays_size_mod`, `LocalDpMod`; `FedMedian`",
        remark="the noise: two trainings draw another one; here both had one ONEFLOWER_NOISE_KEY",
    ),
    Shape(
        name="central-dp",
        shows="central DP with adaptive clipping: a strategy in a strategy, and a mod",
        remark="the noise: two trainings draw another one; here both had one ONEFLOWER_NOISE_KEY",
    ),
    Shape(name="client-state", shows="a counter and a history in `context.state`"),
    Shape(name="scaffold", shows="SCAFFOLD: control variates, two `ArrayRecord`s in a message"),
    Shape(
        name="personalised",
        shows="a head that each client keeps in `context.state`",
        framework="PyTorch",
        needs=_TORCH,
        files=_TORCH_FILES,
    ),
    Shape(
        name="analytics",
        shows="a query and no model",
        files=("histogram.json",),
        measure="values",
    ),
    Shape(
        name="flowertune",
        shows="low-rank adapters; run-config keys such as `strategy.fraction-train` and `model.name`",
        framework="PyTorch",
        needs=_TORCH,
        files=("final_adapters.pt",),
        remark="each start makes a folder named by the time",
    ),
    Shape(
        name="vertical",
        shows="own message types, pushed messages without a reply, a model a client",
        framework="PyTorch",
        needs=_TORCH,
        files=_TORCH_FILES,
    ),
)
BY_NAME = {shape.name: shape for shape in SHAPES}
