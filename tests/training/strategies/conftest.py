"""Replies as clients send them, and the six strategies with Flower's own beside them."""

import numpy as np
from flwr.app import Error
from flwr.common import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower

from oneflower.training import strategies

# One malicious client where a rule has such a parameter: 7 updates are enough for all six.
OPTIONS = {
    "FedAvg": {},
    "FedProx": {"proximal_mu": 0.5},
    "FedAdam": {},
    "Krum": {"num_malicious_nodes": 1},
    "Bulyan": {"num_malicious_nodes": 1},
    "FedTrimmedAvg": {"beta": 0.2},
}
FEWEST = 7


class NodeGrid:
    """As much of a Grid as sampling needs."""

    def __init__(self, count):
        self._count = count

    def get_node_ids(self):
        return range(1, self._count + 1)


def ours(name, **options):
    return getattr(strategies, name)(**(OPTIONS[name] | options))


def flowers(name, **options):
    return getattr(flower, name)(**(OPTIONS[name] | options))


def record(arrays):
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in arrays.items()})


def instruction(node_id=1, message_type="train"):
    return Message(content=RecordDict(), dst_node_id=node_id, message_type=message_type)


def reply(arrays=None, node_id=1, **metrics):
    """Return a client's reply; `num_examples=` becomes num-examples, None leaves it out."""
    values = {"num_examples": 10.0 + node_id, "loss": 1 / node_id} | metrics
    named = {key.replace("_", "-"): value for key, value in values.items() if value is not None}
    content = RecordDict({"metrics": MetricRecord(named)})
    if arrays is not None:
        content["arrays"] = arrays if isinstance(arrays, ArrayRecord) else record(arrays)
    return Message(content=content, reply_to=instruction(node_id))


def reply_with(content, node_id=1):
    return Message(content=RecordDict(content), reply_to=instruction(node_id))


def error_reply(node_id=1, reason="CUDA out of memory"):
    return Message(Error(code=2, reason=reason), reply_to=instruction(node_id))


def model(seed=0, size=1_000):
    rng = np.random.default_rng(seed)
    return {
        "conv.weight": rng.standard_normal((size // 10, 10)).astype(np.float32),
        "conv.bias": rng.standard_normal(10).astype(np.float32),
    }


def replies(count, start=None, seed=0, spread=0.1):
    """Return replies of clients that each moved away from the model `start`."""
    rng = np.random.default_rng(seed)
    start = start or model()
    return [
        reply(
            {
                name: (array + spread * rng.standard_normal(array.shape)).astype(array.dtype)
                for name, array in start.items()
            },
            node_id=node_id,
        )
        for node_id in range(1, count + 1)
    ]


def configured(strategy, arrays, server_round=1, nodes=60):
    """Return the strategy after it has sent this model to the clients."""
    list(strategy.configure_train(server_round, record(arrays), ConfigRecord(), NodeGrid(nodes)))
    return strategy


def numpy_of(arrays):
    return {name: array.numpy() for name, array in arrays.items()}


def raw(arrays):
    return {name: array.data for name, array in arrays.items()}
