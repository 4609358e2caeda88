"""How far apart honest clients are: the largest change, and the largest weight, in medians of the round.

    python benchmarks/update_norms.py                                    # writes docs/aggregation.md
    python benchmarks/update_norms.py --app anomaly-detection --seeds 7  # one app; writes nothing

The three ready-made apps train on splits from even to very uneven, all in one process and without any attack.
FL_UPDATE_NORM_BOUND and FL_MAX_CLIENT_WEIGHT are chosen above what is printed here. The language model is a
tiny one with random weights unless --base-model names a folder.
"""

import argparse
import importlib
import json
import logging
import multiprocessing
import sys
import tempfile
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flwr.common import Context, RecordDict
from flwr.server.run_serverapp import run as run_serverapp

from oneflower.aggregation import SPECS, Arrays, Ordered, spec_of
from oneflower.aggregation.comparison import lower_median
from oneflower.aggregation.norms import Kind, change_norm, kinds_of
from oneflower.lab.localgrid import LocalGrid
from oneflower.settings import APP_CONFIG_KEYS
from oneflower.training.strategy import Strategy

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "aggregation.md"
BEGIN, END = "<!-- update norms: begin -->\n", "<!-- update norms: end -->"
PACKAGES = {
    "image-classification": "image_classification",
    "anomaly-detection": "anomaly_detection",
    "llm-fine-tuning": "llm_fine_tuning",
}
UNEVEN = {"partitioning": "dirichlet", "dirichlet-alpha": 0.1}
# The ratio is largest in the rounds in which some clients have learnt their data and others have not.
ROUNDS = {"image-classification": 3, "anomaly-detection": 8, "llm-fine-tuning": 3}
SEEDS = (42, 1, 2, 3, 4, 5, 6, 7, 8, 9)
EXAMPLES = [spec.name for spec in SPECS if spec.name != "FedAvg"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One training, and the largest ratio to the median of a round in it, by what was measured."""

    app: str
    clients: int
    rounds: int = 3
    strategy: str = "FedAvg"
    split: dict[str, Any] = field(default_factory=dict)
    seed: int = 42
    base_model: str = ""
    largest: dict[str, float] = field(default_factory=dict)


def cases(seeds: int) -> list[Case]:
    """Return every training: uneven splits of each app under FedAvg, and the examples of the strategies."""
    found = [
        Case(app=app, clients=clients, split=UNEVEN, seed=seed, rounds=rounds)
        for app, rounds in ROUNDS.items()
        for clients in (2, 3, 5, 10)
        for seed in SEEDS[:seeds]
    ]
    group = {"partitioning": "group"}
    found += [Case(app="llm-fine-tuning", clients=clients, split=group) for clients in (3, 10)]
    found += [Case(app="anomaly-detection", clients=3, split=group)]
    return found + [
        Case(app="image-classification", clients=spec_of(name).example_clients, strategy=name)
        for name in EXAMPLES
    ]


def run_case(case: Case) -> Case:
    """Train once and return the case with its largest ratios."""
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    folder, package = ROOT / "apps" / case.app, PACKAGES[case.app]
    sys.path.insert(0, str(folder))
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    own = project["tool"]["flwr"]["app"]["config"]
    spec = spec_of(case.strategy)
    run_config = {
        **APP_CONFIG_KEYS,
        **own,
        **{parameter.key: parameter.of(spec.example) for parameter in spec.parameters},
        **case.split,
        "strategy": case.strategy,
        "num-server-rounds": case.rounds,
        "round-retries": 0,
        "min-available-clients": case.clients,
        "min-fit-clients": case.clients,
        "min-evaluate-clients": 0,
        "seed": case.seed,
        **({"base-model": case.base_model} if case.base_model else {}),
    }
    largest: dict[str, float] = {}
    watch(largest)
    client = importlib.import_module(f"{package}.client")
    try:
        run_serverapp(
            grid=LocalGrid(client.app, clients=case.clients, run_config=run_config),
            context=Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=run_config),
            server_app_dir=str(folder),
            server_app_attr=f"{package}.server:app",
        )
    except Exception as error:  # noqa: BLE001 a split that leaves a client too little is no result
        print(f"{case.app} {case.clients} seed {case.seed}: {error}", file=sys.stderr)
    return replace(case, largest=largest)


def watch(largest: dict[str, float]) -> None:
    """Keep the largest ratios of every round that is about to be aggregated."""
    aggregate = Strategy.aggregate

    def watched(self: Strategy, server_round: int, model: Arrays, updates: Ordered, **more: Any) -> Any:
        measured = {
            str(kind): [change_norm(update, model, names) for update in updates]
            for kind, names in kinds_of(model).items()
        }
        measured["num-examples"] = [float(update.metrics["num-examples"]) for update in updates]
        for what, values in measured.items():
            median = lower_median(value for value in values if value > 0)
            if median:
                largest[what] = max(largest.get(what, 0.0), max(values) / median)
        return aggregate(self, server_round, model, updates, **more)

    Strategy.aggregate = watched  # type: ignore[method-assign]


def table(done: list[Case]) -> str:
    """Return the largest ratios by app, split and strategy as a Markdown table."""
    columns = ["num-examples", *(str(kind) for kind in Kind)]
    groups: dict[tuple[str, str, str], list[Case]] = {}
    for case in done:
        name = case.split.get("partitioning", "as it is")
        split = f"{name} {case.split.get('dirichlet-alpha', '')}".strip()
        groups.setdefault((case.app, split, case.strategy), []).append(case)
    lines = [
        "| app | split | strategy | trainings | " + " | ".join(columns) + " |",
        "|---" * (4 + len(columns)) + "|",
    ]
    for (app, split, strategy), members in groups.items():
        ratios = [max((case.largest.get(column, 0.0) for case in members), default=0.0) for column in columns]
        cells = [f"{ratio:.1f}" if ratio else "" for ratio in ratios]
        count = sum(bool(case.largest) for case in members)
        lines.append(f"| {app} | {split} | {strategy} | {count} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def tiny_model(folder: Path) -> str:
    """Write the language model of the tests."""
    sys.path.insert(0, str(ROOT / "tests" / "apps"))
    write = importlib.import_module("tiny_model").write_tiny_model
    return str(write(folder))


def main() -> None:
    """Run all cases, each in a process of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=1, help="of every uneven split, at most 10")
    parser.add_argument("--app", choices=list(PACKAGES), help="only this one, and only its uneven splits")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--base-model", help="folder of the language model")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = options.base_model or tiny_model(Path(folder) / "tiny")
        chosen = [
            replace(case, base_model=base if case.app == "llm-fine-tuning" else "")
            for case in cases(options.seeds)
            if options.app is None or (case.app == options.app and case.split == UNEVEN)
        ]
        done = []
        context = multiprocessing.get_context("spawn")
        with context.Pool(options.processes, maxtasksperchild=1) as pool:
            for case in pool.imap(run_case, chosen):
                done.append(case)
                ratios = " ".join(f"{what}={ratio:.2f}" for what, ratio in case.largest.items())
                print(case.app, case.strategy, case.clients, case.split, case.seed, ratios, flush=True)
    print(table(done))
    if options.app is None:
        before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}{table(done)}{END}{rest.split(END)[1]}", encoding="utf-8")
    if options.json:
        names = [str(kind) for kind in Kind] + ["num-examples"]
        print(json.dumps({name: max(each.largest.get(name, 0.0) for each in done) for name in names}))


if __name__ == "__main__":
    main()
