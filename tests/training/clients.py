"""Replies as clients send them, and every strategy with Flower's own of the same name beside it."""

import numpy as np
from flwr.app import Error
from flwr.common import Array, ArrayRecord, Message, MetricRecord, RecordDict

from oneflower.aggregation import SPECS, check_together, model_schema, spec_of
from oneflower.training.replies import ReplyError, parse_update
from oneflower.training.strategy import Strategy

from ..flower_side import having_sent

NAMES = tuple(spec.name for spec in SPECS)
# Enough updates for each of them, with one malicious client assumed.
FEWEST = max(spec.example_clients for spec in SPECS)


def ours(name, **values):
    """Return a strategy with the parameters of its example, but for those given."""
    spec = spec_of(name)
    root_update = root_training if spec.needs_root else None
    return Strategy(spec=spec, values=spec.values(**spec.example | values), root_update=root_update)


def root_training(server_round, arrays):
    """Train on the server, for FLTrust: a small step that follows from the round and the model."""
    rng = np.random.default_rng(server_round)
    trained = {}
    for name, array in numpy_of(arrays).items():
        step = 0.001 * rng.random(array.shape) if array.dtype.kind == "f" else 0
        trained[name] = np.asarray(array + step).astype(array.dtype)
    return record(trained)


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


def parsed(messages, start):
    """Parse replies to the model `start`, which are all in order; return them in the fixed order."""
    schema = model_schema(start)
    return check_together([parse_update(message, schema) for message in messages]).valid


def checked(messages, start):
    """Return the valid updates among replies, and the reasons why the others are left out, by node id."""
    schema, updates, reasons = model_schema(start), [], {}
    for message in messages:
        try:
            updates.append(parse_update(message, schema))
        except ReplyError as error:
            reasons[message.metadata.src_node_id] = str(error)
    return check_together(updates), reasons


def aggregated(strategy, start, messages, server_round=1):
    """Return the record that the strategy makes of replies to the model `start`, and the metrics."""
    arrays, metrics = strategy.aggregate(server_round, start, parsed(messages, start))
    return arrays, dict(metrics)


def flower_aggregated(strategy, start, messages, server_round=1):
    """Return the same of a strategy of Flower's, which takes the replies apart."""
    having_sent(strategy, record(start), server_round, nodes=60)
    arrays, metrics = strategy.aggregate_train(server_round, messages)
    return numpy_of(arrays), dict(metrics)


def numpy_of(arrays):
    return {name: array.numpy() for name, array in arrays.items()}


def raw(arrays):
    return {name: array.data for name, array in arrays.items()}
