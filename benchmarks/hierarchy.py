"""Simulate a hierarchy: sites with a SuperLink of their own, each of which is one node of a SuperLink above.

``python benchmarks/hierarchy.py --nodes 300 --sites 15``

A site's round, the round above and the round of one SuperLink with all nodes are each measured with light
nodes (`scale.py`), one after the other on this machine; sites would work side by side, on machines of their
own, so a round through them takes the first two. The mean of the sites' means, weighted by their examples,
is compared with the mean of all updates.
"""

import argparse
import sys

import numpy as np
import scale

from oneflower.aggregation import NDArray, Update, ordered
from oneflower.aggregation.mean import weighted_mean

VALUES = 100_000


def main() -> None:
    """Measure the three rounds and compare the two means."""
    options = parse()
    of_a_site = -(-options.nodes // options.sites)
    case = scale.parse(["--rounds", str(options.rounds)])
    seconds = {nodes: rounds_of(nodes, case) for nodes in (of_a_site, options.sites, options.nodes)}
    through = seconds[of_a_site] + seconds[options.sites]
    whole = seconds[options.nodes]
    print(
        f"{options.nodes} nodes: one SuperLink {whole:.1f} s a round; {options.sites} sites {through:.1f} s"
    )
    print(f"ratio {whole / through:.1f}")
    print(f"largest difference of the models, of their largest value: {difference(options):.1e}")


def rounds_of(nodes: int, case: argparse.Namespace) -> float:
    """Return the seconds of a round with so many nodes."""
    found = scale.measure(nodes, case)
    print(scale.line(found, case), flush=True)
    if found.seconds_a_round is None:
        sys.exit(
            f"with {nodes} nodes no round was completed within {case.limit:.0f} s: give a larger --limit"
        )
    return found.seconds_a_round


def difference(options: argparse.Namespace) -> float:
    """Return how far the mean of means is from the mean, by random updates and numbers of examples."""
    rng = np.random.default_rng(0)
    updates = [
        update(number, rng.standard_normal(VALUES, dtype=np.float32), int(rng.integers(1, 1000)))
        for number in range(options.nodes)
    ]
    sites = [
        update(first, mean_of(updates[first :: options.sites]), examples(updates[first :: options.sites]))
        for first in range(options.sites)
    ]
    whole = mean_of(updates)
    return float(np.max(np.abs(mean_of(sites) - whole)) / np.max(np.abs(whole)))


def update(number: int, values: NDArray, num_examples: int) -> Update:
    """Return what a client or a site sends."""
    return Update(client=number, arrays={"w": values}, num_examples=num_examples)


def mean_of(updates: list[Update]) -> NDArray:
    """Return the mean, weighted by examples."""
    return weighted_mean(ordered(updates)).model["w"]


def examples(updates: list[Update]) -> int:
    """Return the examples of all clients of a site."""
    return sum(int(each.num_examples) for each in updates)


def parse() -> argparse.Namespace:
    """Read the command line."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--nodes", type=int, default=300)
    parser.add_argument("--sites", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
