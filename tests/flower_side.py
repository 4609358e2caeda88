"""Flower's own strategies with the parameters of ours, to compare with; benchmarks import it too."""

from inspect import signature

from flwr.common import ConfigRecord
from flwr.serverapp import strategy as flower

# What Flower's constructors call our parameters, where they do not call them the same.
ALIASES = {
    "server_lr": {"eta", "server_learning_rate"},
    "client_lr": {"eta_l"},
    "num_malicious": {"num_malicious_nodes"},
    "trim_beta": {"beta"},
}


class NodeGrid:
    """As much of a Grid as sampling needs."""

    def __init__(self, count):
        self._count = count

    def get_node_ids(self):
        return range(1, self._count + 1)


def flowers(name, values):
    """Return Flower's strategy of this name with these parameters."""
    kind = getattr(flower, name)
    known = set(signature(kind).parameters)
    options = {}
    for parameter, value in values.items():
        (option,) = known & {parameter, *ALIASES.get(parameter, ())}
        options[option] = value
    return kind(**options)


def having_sent(strategy, arrays, server_round, nodes):
    """Return Flower's strategy after it has sent this model: some keep it until they aggregate."""
    list(strategy.configure_train(server_round, arrays, ConfigRecord(), NodeGrid(nodes)))
    return strategy
