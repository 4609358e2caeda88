"""How evenly rounds draw their clients: the chi-square statistic of each client's share, for some seeds."""

import argparse
import json
import logging
from collections import Counter

from flwr.clientapp import ClientApp

from oneflower.codes import Task
from oneflower.flower.who import Roll
from oneflower.lab.localgrid import LocalGrid
from oneflower.training.draw import Sampler


def statistic(clients: int, wanted: int, rounds: int, seed: int) -> float:
    """Return the statistic for `clients` - 1 degrees of freedom.

    Drawn without replacement, a client's count has 1 - wanted/clients of a binomial's variance.
    """
    grid = LocalGrid(ClientApp(), clients=clients, run_config={})
    sampler, nodes = Sampler(seed=seed, roll=Roll(grid)), list(grid.get_node_ids())
    counts = Counter(dict.fromkeys(nodes, 0))
    for number in range(1, rounds + 1):
        counts.update(sampler.draw(nodes, number, Task.TRAIN, wanted=wanted).order)
    expected = rounds * wanted / clients
    plain = sum((count - expected) ** 2 / expected for count in counts.values())
    return plain * (clients - 1) / (clients - wanted)


def main() -> None:
    """Print one line a seed, at last one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--per-round", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 42, 2**32 - 1])
    given = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.WARNING)
    found = {
        seed: round(statistic(given.clients, given.per_round, given.rounds, seed), 1) for seed in given.seeds
    }
    for seed, value in found.items():
        print(f"seed {seed}: {value} with {given.clients - 1} degrees of freedom")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
