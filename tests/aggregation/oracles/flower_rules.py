"""Flower 1.25.0's own classes and functions on the same inputs, as they are and in float64."""

import gc

import numpy as np
from flwr.common import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.server.strategy import aggregate as functions
from flwr.serverapp import strategy as classes

from oneflower.aggregation import spec_of

from ...flower_side import flowers, having_sent


def replies(rows, weights):
    """Return the clients' messages."""
    return [
        Message(
            content=RecordDict(
                {
                    "arrays": ArrayRecord({"w": Array(row)}),
                    "metrics": MetricRecord({"num-examples": float(weight)}),
                }
            ),
            reply_to=Message(content=RecordDict(), dst_node_id=1 + i, message_type="train"),
        )
        for i, (row, weight) in enumerate(zip(rows, weights, strict=True))
    ]


def aggregated(strategy, rows, model, weights=None, number=1):
    """Return what a strategy of Flower's makes of the rows in this round."""
    having_sent(strategy, ArrayRecord({"w": Array(model)}), number, len(rows))
    with np.errstate(over="ignore", invalid="ignore"):
        record, _ = strategy.aggregate_train(
            number, replies(rows, [10.0] * len(rows) if weights is None else weights)
        )
    return record["w"].numpy()


def optimizer(name):
    """Return Flower's server optimizer with the parameters of ours."""
    return flowers(name, spec_of(name).example)


def fedavg(sent, weights):
    return aggregated(classes.FedAvg(), sent.rows, sent.model, weights)


def median(sent):
    return aggregated(classes.FedMedian(), sent.rows, sent.model)


def trimmed(sent, beta):
    return aggregated(classes.FedTrimmedAvg(beta=beta), sent.rows, sent.model)


def krum(sent, *, wide=False):
    strategy = classes.Krum(num_malicious_nodes=sent.malicious)
    return aggregated(strategy, sent.wide if wide else sent.rows, sent.model)


def multikrum(sent, *, wide=False):
    selected = len(sent.rows) - sent.malicious
    strategy = classes.MultiKrum(num_malicious_nodes=sent.malicious, num_nodes_to_select=selected)
    return aggregated(strategy, sent.wide if wide else sent.rows, sent.model)


def bulyan(sent):
    """Flower's class, which ranks the updates once. It collects garbage for every array."""
    gc.freeze()  # what is there already is not looked at again and again
    try:
        return aggregated(classes.Bulyan(num_malicious_nodes=sent.malicious), sent.wide, sent.model)
    finally:
        gc.unfreeze()


def results(sent, *, wide=False):
    """Return the clients' results as the functions of `flwr.server` take them."""
    return [([row], 10) for row in (sent.wide if wide else sent.rows)]


def older_median(sent):
    return functions.aggregate_median(results(sent))[0]


def older_trimmed(sent, beta):
    return functions.aggregate_trimmed_avg(results(sent), beta)[0]


def older_krum(sent, *, wide=False):
    with np.errstate(over="ignore", invalid="ignore"):
        return functions.aggregate_krum(results(sent, wide=wide), sent.malicious, 0)[0]


def older_multikrum(sent, *, wide=False):
    with np.errstate(over="ignore", invalid="ignore"):
        return functions.aggregate_krum(
            results(sent, wide=wide), sent.malicious, len(sent.rows) - sent.malicious
        )[0]


def older_bulyan(sent, *, wide=False):
    """The function of `flwr.server`, which iterates Krum as the paper does."""
    with np.errstate(over="ignore", invalid="ignore"):
        made = functions.aggregate_bulyan(
            results(sent, wide=wide), sent.malicious, functions.aggregate_krum, to_keep=0
        )
    return made[0]
