"""Train all strategies with two attackers, and keep the journals: what docs/compare.svg is drawn from.

python benchmarks/attacked_journals.py DIR          # DIR/FedAvg/journal.jsonl and so on; some minutes
oneflower compare DIR/* --format svg --output docs/compare.svg
"""

import argparse
import logging
import os
from pathlib import Path

from flwr.common import Context, RecordDict
from flwr.server.run_serverapp import run as run_serverapp
from robustness import (
    APP,
    ATTACKS,
    CLIENTS,
    MALICIOUS,
    SPLITS,
    STRATEGIES,
    AttackedGrid,
    import_client,
)

from oneflower.settings import APP_CONFIG_KEYS


def train(strategy: str, attack: str, rounds: int, folder: Path) -> None:
    """Train once; the journal stays in the folder."""
    run_config = {
        **APP_CONFIG_KEYS,
        **SPLITS["IID"],
        **STRATEGIES[strategy],
        "strategy": strategy,
        "num-server-rounds": rounds,
        "min-available-clients": CLIENTS,
        "min-fit-clients": CLIENTS - MALICIOUS,
        "min-evaluate-clients": CLIENTS,
        "seed": 42,
    }
    client = import_client(attack)
    grid = AttackedGrid(client.app, clients=CLIENTS, run_config=run_config, attack=ATTACKS[attack])
    context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=run_config)
    os.environ["ONEFLOWER_JOURNAL"] = str(folder / "journal.jsonl")
    run_serverapp(
        grid=grid,
        context=context,
        server_app_dir=str(APP),
        server_app_attr="image_classification.server:app",
    )


def main() -> None:
    """Train with every strategy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--attack", choices=list(ATTACKS), default="sign flip x10")
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.WARNING)
    for strategy in STRATEGIES:
        train(strategy, options.attack, options.rounds, options.folder / strategy)


if __name__ == "__main__":
    main()
