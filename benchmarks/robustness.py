"""Attack the real image-classification app under all strategies, and write docs/robustness.md.

    python benchmarks/robustness.py            # half an hour on two cores
    python benchmarks/robustness.py --quick    # two strategies, three attacks

Eleven clients, two of them malicious, all in one process; each cell is one training from the same seed. The
malicious clients know every honest update and act together: the strongest attacker of the papers.
"""

import argparse
import json
import logging
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from flwr.common import Array, ArrayRecord, Context, Message, MessageType, RecordDict
from flwr.server.run_serverapp import run as run_serverapp

from oneflower.aggregation import SPECS, StrategySpec
from oneflower.aggregation.optimizers import CLIENT_LR
from oneflower.journal import read_journal, reduce
from oneflower.lab.localgrid import LocalGrid
from oneflower.quality import Measure, Origin
from oneflower.settings import APP_CONFIG_KEYS

ROOT = Path(__file__).resolve().parents[1]
APP = ROOT / "apps" / "image-classification"
PAGE, PICTURE = ROOT / "docs" / "robustness.md", ROOT / "docs" / "robustness.svg"

CLIENTS, MALICIOUS = 11, 2
ADAPTIVE = {"server_lr": 0.01, "client_lr": 0.05}


def parameters(spec: StrategySpec) -> dict[str, Any]:
    """Return the parameters of a strategy's example, but for the attackers and smaller adaptive steps."""
    chosen = {"num_malicious": MALICIOUS} | (ADAPTIVE if CLIENT_LR in spec.parameters else {})
    return {parameter.key: parameter.of(spec.example | chosen) for parameter in spec.parameters}


STRATEGIES = {spec.name: parameters(spec) for spec in SPECS}
SPLITS = {"IID": {"partitioning": "iid"}, "non-IID": {"partitioning": "dirichlet", "dirichlet-alpha": 0.3}}

Arrays = dict[str, np.ndarray]
Attack = Callable[[np.random.Generator, Arrays, list[Arrays], Arrays], Arrays]


# --- attacks: (random numbers, global model, honest updates, own honest update) -> what is sent -------------


def sign_flip(_: np.random.Generator, model: Arrays, __: list[Arrays], own: Arrays) -> Arrays:
    """Send ten times the opposite of the own change."""
    return {name: model[name] - 10 * (own[name] - model[name]) for name in own}


def gaussian(rng: np.random.Generator, _: Arrays, __: list[Arrays], own: Arrays) -> Arrays:
    """Add noise of standard deviation 1 to every weight; the weights themselves are about 0.05."""
    return {name: own[name] + rng.normal(size=own[name].shape) for name in own}


def a_little_is_enough(_: np.random.Generator, __: Arrays, honest: list[Arrays], own: Arrays) -> Arrays:
    """Stay z deviations from the honest mean, just inside their spread (Baruch et al. 2019, algorithm 3)."""
    supporters = CLIENTS // 2 + 1 - MALICIOUS
    z = NormalDist().inv_cdf((CLIENTS - MALICIOUS - supporters) / (CLIENTS - MALICIOUS))
    stacked = {name: np.stack([update[name] for update in honest]) for name in own}
    return {name: values.mean(0) - z * values.std(0) for name, values in stacked.items()}


def inner_product(_: np.random.Generator, model: Arrays, honest: list[Arrays], own: Arrays) -> Arrays:
    """Send minus ten times the honest mean change, so that the mean steps backwards (Xie et al. 2020)."""
    return {
        name: model[name] - 10 * (np.mean([update[name] for update in honest], axis=0) - model[name])
        for name in own
    }


def not_a_number(_: np.random.Generator, __: Arrays, ___: list[Arrays], own: Arrays) -> Arrays:
    """Send NaN in place of every weight."""
    return {name: np.full_like(own[name], np.nan) for name in own}


def largest(_: np.random.Generator, __: Arrays, ___: list[Arrays], own: Arrays) -> Arrays:
    """Send the largest float32 in place of every weight: it is finite."""
    return {name: np.full_like(own[name], 3.4e38) for name in own}


def no_square(_: np.random.Generator, __: Arrays, ___: list[Arrays], own: Arrays) -> Arrays:
    """Send a number whose square is no float32: an optimizer's second moment overflows."""
    return {name: np.full_like(own[name], 1e22) for name in own}


def stale(_: np.random.Generator, model: Arrays, __: list[Arrays], ___: Arrays) -> Arrays:
    """Send the model back as it came: a free rider."""
    return dict(model)


def honest(_: np.random.Generator, __: Arrays, ___: list[Arrays], own: Arrays) -> Arrays:
    """Send what was trained (with "label flip": on labels that were turned round before)."""
    return own


ATTACKS: dict[str, Attack] = {
    "none": honest,
    "sign flip x10": sign_flip,
    "Gaussian noise": gaussian,
    "a little is enough": a_little_is_enough,
    "inner product": inner_product,
    "label flip": honest,
    "NaN": not_a_number,
    "3.4e38": largest,
    "1e22": no_square,
    "stale update": stale,
}


class AttackedGrid(LocalGrid):
    """A LocalGrid whose last two clients send what an attack makes of their updates."""

    def __init__(self, *arguments: Any, attack: Attack, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._attack = attack
        self._rng = np.random.default_rng(0)
        self._evil = set(list(self._contexts)[-MALICIOUS:])
        self.honest_accuracy: list[float] = []

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        """Run every client, then let the malicious ones see the others' updates."""
        asked = [self._queue[key] for key in message_ids if key in self._queue]
        replies = list(super().pull_messages(message_ids))
        if not replies:
            return
        if replies[0].metadata.message_type == MessageType.TRAIN:
            self._forge(asked[0].content["arrays"], replies)
        else:
            self.honest_accuracy = [
                next(iter(reply.content.metric_records.values()))["eval_acc"]
                for reply in replies
                if reply.metadata.src_node_id not in self._evil
            ]
        yield from replies

    def _forge(self, model: ArrayRecord, replies: list[Message]) -> None:
        updates = {reply.metadata.src_node_id: floats(reply.content["arrays"]) for reply in replies}
        good = [arrays for node, arrays in updates.items() if node not in self._evil]
        for reply in replies:
            node = reply.metadata.src_node_id
            if node not in self._evil:
                continue
            forged = self._attack(self._rng, floats(model), good, updates[node])
            record = reply.content["arrays"]
            for name, values in forged.items():
                record[name] = Array(np.asarray(values, dtype=record[name].dtype))


def floats(record: ArrayRecord) -> Arrays:
    """Return the float arrays of a record; counters are left as they are."""
    arrays = {name: array.numpy() for name, array in record.items()}
    return {name: values for name, values in arrays.items() if values.dtype.kind == "f"}


# --- one training -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One training of the matrix, and how it ended: accuracies in per cent."""

    split: str
    strategy: str
    attack: str
    accuracy: float = float("nan")
    worst_client: float = float("nan")


def run_cell(arguments: tuple[Cell, int]) -> Cell:
    """Train once; return the final accuracy on held-out images, and the worst honest client's on its own."""
    cell, rounds = arguments
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    client = import_client(cell.attack)
    run_config = {
        **APP_CONFIG_KEYS,
        **SPLITS[cell.split],
        **STRATEGIES[cell.strategy],
        "strategy": cell.strategy,
        "num-server-rounds": rounds,
        "round-retries": 0,
        "min-available-clients": CLIENTS,
        # A quarantined attacker must not end the round; the rules with a bound need all eleven.
        "min-fit-clients": CLIENTS - MALICIOUS,
        "min-evaluate-clients": CLIENTS,
        "seed": 42,
    }
    grid = AttackedGrid(client.app, clients=CLIENTS, run_config=run_config, attack=ATTACKS[cell.attack])
    context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=run_config)
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal.jsonl"
        os.environ["ONEFLOWER_JOURNAL"] = str(journal)
        try:
            run_serverapp(
                grid=grid,
                context=context,
                server_app_dir=str(APP),
                server_app_attr="image_classification.server:app",
            )
        except Exception as error:  # noqa: BLE001 a training that an attack ends is a result of this table
            print(f"{cell.split} {cell.strategy} {cell.attack}: {error}", file=sys.stderr)
            return cell
        state = reduce(read_journal(journal))
    accuracy = 100 * state.rounds[state.done].metrics[Measure(Origin.CENTRAL, "accuracy")]
    worst = 100 * min(grid.honest_accuracy)
    return Cell(
        split=cell.split, strategy=cell.strategy, attack=cell.attack, accuracy=accuracy, worst_client=worst
    )


def import_client(attack: str) -> Any:
    """Import the app's client; for "label flip" the malicious clients see 0 as 9, 1 as 8 and so on."""
    sys.path.insert(0, str(APP))
    from image_classification import client, data

    def flipped(source: Any, shape: Any, info: Any) -> Any:
        training, validation = data.client_images(source, shape, info)
        if info.partition_id >= CLIENTS - MALICIOUS:
            training = data.Images(pixels=training.pixels, labels=shape.num_classes - 1 - training.labels)
        return training, validation

    client.client_images = flipped if attack == "label flip" else data.client_images
    return client


# --- the page -----------------------------------------------------------------------------------------------


def table(cells: list[Cell], split: str, attacks: list[str]) -> str:
    """Return one split's accuracies as a Markdown table; in brackets, the points lost to the attack."""
    found = {(cell.strategy, cell.attack): cell for cell in cells if cell.split == split}
    strategies = list(dict.fromkeys(strategy for strategy, _ in found))
    lines = ["| | " + " | ".join(attacks) + " |", "|---" * (len(attacks) + 1) + "|"]
    for strategy in strategies:
        base = found[strategy, "none"].accuracy
        row = [f"**{strategy}**"]
        for attack in attacks:
            value = found[strategy, attack].accuracy
            lost = "" if attack == "none" else f" ({value - base:+.1f})"
            row.append("ended" if np.isnan(value) else f"{value:.1f}{lost}")
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def minority_table(cells: list[Cell]) -> str:
    """Return what the worst-served honest client gets without any attack, by split."""
    lines = [
        "| | IID: all | IID: worst client | non-IID: all | non-IID: worst client |",
        "|---|---|---|---|---|",
    ]
    calm = {(cell.strategy, cell.split): cell for cell in cells if cell.attack == "none"}
    for strategy in dict.fromkeys(strategy for strategy, _ in calm):
        row = [f"**{strategy}**"]
        for split in SPLITS:
            cell = calm[strategy, split]
            row += [f"{cell.accuracy:.1f}", f"{cell.worst_client:.1f}"]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def picture(cells: list[Cell], attacks: list[str]) -> str:
    """Return the matrix as an SVG heat map: a panel for each split, the accuracy written in every cell."""
    width, height, left, top = 92, 30, 120, 96
    strategies = list(dict.fromkeys(cell.strategy for cell in cells))
    panel = top + height * len(strategies) + 24
    size = f"{left + width * len(attacks) + 10} {panel * len(SPLITS)}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" role="img"',
        'font-family="system-ui, sans-serif" font-size="12" aria-label="Accuracy under attack">',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for number, split in enumerate(SPLITS):
        y0 = number * panel
        parts.append(f'<text x="8" y="{y0 + 24}" font-size="15" font-weight="600">{split} data</text>')
        for column, attack in enumerate(attacks):
            x = left + width * column + width / 2
            parts.append(
                f'<text x="{x}" y="{y0 + top - 10}" text-anchor="middle" font-size="10.5">{attack}</text>'
            )
        for row, strategy in enumerate(strategies):
            y = y0 + top + height * row
            parts.append(f'<text x="{left - 8}" y="{y + 20}" text-anchor="end">{strategy}</text>')
            for column, attack in enumerate(attacks):
                value = next(
                    c.accuracy for c in cells if (c.split, c.strategy, c.attack) == (split, strategy, attack)
                )
                parts.append(heat(left + width * column, y, width - 2, height - 2, value))
    return "\n".join([*parts, "</svg>"]) + "\n"


def heat(x: float, y: float, width: float, height: float, value: float) -> str:
    """Return one cell: dark blue is accurate, pale is not, grey ended."""
    share = 0.0 if np.isnan(value) else max(0.0, min(1.0, value / 100)) ** 3
    red, green, blue = (round(244 + share * (end - 244)) for end in (23, 79, 140))
    ink = "#fff" if share > 0.5 else "#222"
    text = "ended" if np.isnan(value) else f"{value:.1f}"
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="3" fill="rgb({red},{green},{blue})"/>'
        f'<text x="{x + width / 2}" y="{y + height / 2 + 4}" text-anchor="middle" fill="{ink}">{text}</text>'
    )


def put_between(page: str, name: str, text: str) -> str:
    """Replace what stands between the two marks of a section of the page."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = page.split(begin)
    return f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}"


def main() -> None:
    """Run the matrix on as many processes as there are cores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument(
        "--quick", action="store_true", help="FedAvg and Krum under three attacks; writes nothing"
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()
    strategies = ["FedAvg", "Krum"] if options.quick else list(STRATEGIES)
    attacks = ["none", "sign flip x10", "NaN"] if options.quick else list(ATTACKS)
    tasks = [
        (Cell(split=split, strategy=strategy, attack=attack), options.rounds)
        for split in SPLITS
        for strategy in strategies
        for attack in attacks
    ]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count(), maxtasksperchild=12) as pool:
        cells = []
        for cell in pool.imap(run_cell, tasks):
            cells.append(cell)
            print(f"{cell.split:8} {cell.strategy:14} {cell.attack:20} {cell.accuracy:6.1f}", flush=True)
    for split in SPLITS:
        print(f"\n{split}\n{table(cells, split, attacks)}")
    if not options.quick:
        page = PAGE.read_text(encoding="utf-8")
        for split in SPLITS:
            page = put_between(page, f"attacks {split}", table(cells, split, attacks))
        PAGE.write_text(put_between(page, "minority", minority_table(cells)), encoding="utf-8")
        PICTURE.write_text(picture(cells, attacks), encoding="utf-8")
    if options.json:
        print(json.dumps({"accuracy": {f"{c.split} {c.strategy} {c.attack}": c.accuracy for c in cells}}))


if __name__ == "__main__":
    main()
